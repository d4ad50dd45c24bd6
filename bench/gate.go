package main

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// gateExecs is how many programs are executed in each way, in parts that take turns.
const gateExecs, gatePart = 5000, 25

var gateMeasurement = measurement{
	name: "gate", title: "Executing programs under the exec gate",
	text: fmt.Sprintf(`What it costs that each program has to ask for memory, when there is enough: %d times /bin/true, one after the other, below mlrun admit --tree, and as often below
mlrun limit, where nobody asks; both take turns, %d programs each. From before the fork to the end of the program. "Gate alone" is the difference
within each turn.`, gateExecs, gatePart),
	run: (*rig).execGate,
}

func (r *rig) execGate() ([]table, error) {
	part := []string{"--", r.spawner, strconv.Itoa(gatePart), r.nop}
	ways := []struct {
		series
		args []string
	}{
		{series{label: "nobody asks"}, append([]string{r.mlrun, "limit", "--root", r.root(), "--quiet", "1024G"}, part...)},
		{series{label: "gate"}, append([]string{r.mlrun, "admit", "--root", r.root(), "--tree", "1%"}, part...)},
		{series{label: "gate, 1 MiB reserved for each"}, append([]string{r.mlrun, "admit", "--root", r.root(), "--tree", "--reserve", "1M", "1%"}, part...)},
	}
	alone := []*series{{label: "gate alone"}, {label: "gate alone, 1 MiB reserved"}}
	for range gateExecs / gatePart {
		for i := range ways {
			w := &ways[i]
			out, err := r.output(w.args...)
			if err != nil {
				return nil, err
			}
			ns, err := strconv.ParseInt(string(bytes.TrimSpace(out)), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.spawner, err)
			}
			w.add(float64(ns) / float64(time.Microsecond))
			if i > 0 {
				alone[i-1].add(w.values[len(w.values)-1] - ways[0].values[len(w.values)-1])
			}
		}
	}
	return []table{summary(fmt.Sprintf("%d turns of %d programs:", gateExecs/gatePart, gatePart), "us for a program", nil,
		&ways[0].series, &ways[1].series, &ways[2].series, alone[0], alone[1])}, nil
}
