package supervise

import (
	"os"
	"runtime"
	"time"

	"mlrun/proc"
)

// Observed processes are children of whoever called mlrun with --pid-file and waits for them (package launch, "Observed processes"). No reaper
// tells that nothing is left of them: their descendants are members of the group, and at the end the marker in the environment finds those
// that nobody saw being forked. So it is with all processes where there is no subreaper (launch.Adopts).

const (
	eraseTime = 50 * time.Millisecond // how long what is to end is waited for to stop before it is killed
	// restlessMost is after how many looks that found nobody it is believed that those who fork all the time are others.
	restlessMost = 500
	sweepMost    = 20 * time.Millisecond // between two looks at what is left
)

// lost is called when the payload has ended, and was waited for or will be.
func (l *loop) lost() {
	l.nobody = true
	if l.group != nil {
		l.group.Lost(l.group.Leader())
		l.verdict.Left += l.group.Living()
	}
	l.over()
}

// eraseSoon lets sweep end what the guards do not: all of it once the payload has ended, or has no guard, or that takes too long.
func (l *loop) eraseSoon() {
	if l.nobody || l.proc.Reaper == 0 || time.Since(l.killSince) > giveUp/2 {
		l.erase.Store(true)
		l.sweep()
	}
}

// sweep waits until nothing is left, in a goroutine of its own, and ends what is as soon as that is wanted.
func (l *loop) sweep() {
	if l.sweeping || l.group == nil {
		l.swept = l.swept || l.group == nil
		return
	}
	l.sweeping = true
	group, self := l.group, proc.Self()
	l.helpers.Add(1)
	go func() {
		defer l.helpers.Done()
		runtime.LockOSThread() // it ends with this goroutine, since its priority is raised
		hurry()
		restless := 0
		for wait := time.Millisecond; l.ctx.Err() == nil; wait = min(2*wait, sweepMost) {
			if l.erase.Load() {
				group.Kill(eraseTime)
				wait = time.Millisecond
			} else {
				group.Update(time.Now())
			}
			if group.Living() == 0 && (group.Quiet() || restless > restlessMost) && group.Seek(self) == 0 {
				break
			}
			if restless++; group.Living() > 0 {
				restless = 0
			}
			time.Sleep(wait)
		}
		go l.post(func(l *loop) {
			l.swept = true
			l.over()
		})
	}()
}

// above tells whether the process at the other end of a control connection is the parent of a process that it wants to be taken in.
func above(parent, pid int) bool {
	s, err := proc.Root.Stat(pid)
	return err == nil && s.PPID == parent && pid != os.Getpid()
}
