package main

import (
	"encoding/json"
	"fmt"
)

// listed is how many containers a list has, and of these those that run.
const listed, listedRunning = 1000, 10

var listMeasurement = measurement{
	name: "list", title: "Listing containers",
	text: `A state directory with 1,000 containers: mlrun run --keep has made 990, which have ended and have their verdict, and mlrun run --detach 10, which run. As a
table, as JSON, and the ids alone. The bare command is /bin/true again.`,
	run: (*rig).list,
}

func (r *rig) list() ([]table, error) {
	root := r.path("listed") // that of the others stays small
	ended, err := r.bundle(limited, r.nop)
	if err != nil {
		return nil, err
	}
	runs, err := r.bundle(limited, r.hold, "-note", r.path("note"))
	if err != nil {
		return nil, err
	}
	n, _, err := r.note()
	if err != nil {
		return nil, err
	}
	defer n.Close()
	for i := range listed {
		id, args := r.fresh("listed"), []string{r.mlrun, "run", "--root", root, "--keep", "--id"}
		bundle := ended
		if i < listedRunning {
			args[4], bundle = "--detach", runs
			defer func() {
				if err := r.always(r.mlrun, "delete", "--root", root, "--force", id); err != nil {
					r.problems = append(r.problems, err)
				}
			}()
		}
		if _, err := r.time(append(args, id, bundle)...); err != nil {
			return nil, err
		}
	}
	if err := r.checkList(root); err != nil {
		return nil, err
	}
	bare := same("posix_spawn", r.nop)
	return r.timeAll("%d runs:", bare, []*timed{
		bare, same("mlrun list", r.mlrun, "list", "--root", root),
		same("mlrun list --format json", r.mlrun, "list", "--root", root, "--format", "json"),
		same("mlrun list --quiet", r.mlrun, "list", "--root", root, "--quiet"),
	})
}

// checkList checks that what is measured is what is said of it.
func (r *rig) checkList(root string) error {
	out, err := r.output(r.mlrun, "list", "--root", root, "--format", "json")
	if err != nil {
		return err
	}
	var list []struct{ Status string }
	if err := json.Unmarshal(out, &list); err != nil {
		return fmt.Errorf("mlrun list: %w", err)
	}
	running := 0
	for _, c := range list {
		if c.Status == "running" {
			running++
		}
	}
	if len(list) != listed || running != listedRunning {
		return fmt.Errorf("mlrun list: %d containers, %d of them running: want %d and %d", len(list), running, listed, listedRunning)
	}
	return nil
}
