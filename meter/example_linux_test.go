package meter_test

import (
	"fmt"
	"log"
	"os/exec"
	"time"

	"mlrun/meter"
	"mlrun/proc"
)

// Two processes are measured that run the same program: what they share counts once, so that together they have less than the sum of what is
// resident in each.
func ExampleMeter() {
	var ids []proc.ID
	for range 2 {
		c := exec.Command("cat")
		in, _ := c.StdinPipe()
		out, _ := c.StdoutPipe()
		if err := c.Start(); err != nil {
			log.Fatal(err)
		}
		defer c.Wait()
		defer in.Close()
		fmt.Fprintln(in, "ready") // who answers is done with its start
		var answer string
		if _, err := fmt.Fscanln(out, &answer); err != nil {
			log.Fatal(err)
		}
		st, err := proc.Root.Stat(c.Process.Pid)
		if err != nil {
			log.Fatal(err)
		}
		ids = append(ids, st.ID())
	}
	m := meter.New(proc.Root)
	defer m.Close()
	m.Set(ids)

	const limit = 1 << 30
	bound, _ := m.Bound(time.Now(), limit) // takes a microsecond for each process
	if bound > limit {
		log.Fatal("over the limit, or so much is shared that only an exact reading can tell")
	}
	r := m.Exact() // takes 10 ms for each GiB
	fmt.Println("processes:", r.Processes)
	fmt.Println("less than the bound:", r.Memory > 0 && r.Memory < bound)
	// Output:
	// processes: 2
	// less than the bound: true
}
