package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"

	"mlrun/proc"
	"mlrun/runtime/supervise"
)

// request sends a request to the supervisor of a container.
func (r *Runtime) request(id string, req supervise.Request) (supervise.Snapshot, *record, error) {
	d, rec, err := r.find(id)
	if err != nil {
		return supervise.Snapshot{}, nil, err
	}
	if status, live := rec.status(); !live {
		return supervise.Snapshot{}, rec, fmt.Errorf("%s: %w: it is %s", id, ErrNotRunning, status)
	}
	sn, err := ask(d, rec, req, controlWait)
	if err != nil {
		return sn, rec, fmt.Errorf("%s: %w", id, gone(err))
	}
	return sn, rec, nil
}

// Pause stops every process of a running container (SIGSTOP), those too that are forked meanwhile, until Resume. The error is ErrPaused when
// that was done already. A signal that asks mlrun itself to end continues it.
func (r *Runtime) Pause(id string) error {
	_, _, err := r.request(id, supervise.Request{Op: supervise.OpPause})
	return err
}

// Resume continues a paused container. The error is ErrNotPaused when it is none.
func (r *Runtime) Resume(id string) error {
	_, _, err := r.request(id, supervise.Request{Op: supervise.OpResume})
	return err
}

// Processes lists the processes of a container.
func (r *Runtime) Processes(id string) ([]proc.ID, error) {
	sn, _, err := r.request(id, supervise.Request{Op: supervise.OpList})
	return sn.Members, err
}

// Update changes the limits of a container that runs or is created.
func (r *Runtime) Update(id string, o UpdateOptions) error {
	d, rec, err := r.find(id)
	if err != nil {
		return err
	}
	if b, err := stored(d, rec); err == nil && b.ChecksUpdates() {
		o.Check = true
	}
	u, err := o.update(rec)
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	if o.Check && u.Limit != nil && *u.Limit > 0 {
		sn, _, err := r.request(id, supervise.Request{Op: supervise.OpUsage})
		if err != nil {
			return err
		}
		if sn.Current > *u.Limit {
			return fmt.Errorf("%s: it uses up to %d bytes, more than the memory limit of %d that is asked for", id, sn.Current, *u.Limit)
		}
	}
	_, _, err = r.request(id, supervise.Request{Op: supervise.OpUpdate, Update: u})
	return err
}

// Usage tells what a container uses.
func (r *Runtime) Usage(id string) (*Usage, error) {
	sn, rec, err := r.request(id, supervise.Request{Op: supervise.OpUsage})
	if err != nil {
		return nil, err
	}
	u := &Usage{Snapshot: sn, MemoryLimit: rec.Memory.Limit, PidsLimit: -1}
	if t := rec.Budget.Tasks; t != nil {
		u.PidsLimit = t.Max
	}
	return u, nil
}

// Watch calls f with what happens in a container, until that has ended, ctx ends, or f returns an error, which it returns.
func (r *Runtime) Watch(ctx context.Context, id string, f func(Occurrence) error) error {
	d, rec, err := r.find(id)
	if err != nil {
		return err
	}
	conn, err := reach(rec, func() (*net.UnixConn, error) { return dial(d) })
	if err != nil {
		return fmt.Errorf("%s: %w", id, gone(err))
	}
	defer conn.Close()
	if err := send(conn, &message{Request: supervise.Request{Op: supervise.OpWatch}}, nil); err != nil {
		return fmt.Errorf("%s: %w", id, gone(err))
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	for dec := json.NewDecoder(conn); ; {
		var o Occurrence
		err := dec.Decode(&o)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil: // io.EOF; also when its supervisor was killed
			return nil
		}
		if err := f(o); err != nil {
			return err
		}
		if o.Ended != nil {
			return nil
		}
	}
}
