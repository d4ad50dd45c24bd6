package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"mlrun/group"
	"mlrun/group/fuse"
	"mlrun/group/groupfs"
	"mlrun/runtime"
)

const groupMountHelp = `mount shows the groups as files below DIR, an empty directory, with FUSE: any program can make groups, join them and limit them. It serves until SIGTERM, SIGINT, or
fusermount3 -u DIR. It takes fusermount3 (fuse3), and no privilege.

  ctl      read: the id of the group; write: label TEXT, mlim N, mproc N or mpage N, a line each; N may be none
  clone    open: moves the opener into a new group below; read: its id
  switch   open: moves the opener into the group
  status   label, parent, then limits and counts
  error    why the last write or open here failed
  groups   in DIR: a directory for each group, with the same files

The files in DIR itself are those of the group of whoever opens them. What a process forks after it has moved is in the group, too. Its processes are counted, and
ended with SIGKILL when the group is over a limit and chooses them, as long as mount runs.

EXIT STATUS
  0 when it was unmounted, 2 for a wrong command line, else 1`

func (a *app) groupMountCmd() *cobra.Command {
	var o groupfs.Options
	cmd := &cobra.Command{
		Use:   "mount [flags] DIR",
		Short: "show the groups as files (FUSE)",
		Long:  groupMountHelp,
		Args:  exactArgs(1, "the directory"),
		RunE: func(_ *cobra.Command, args []string) error {
			o.Options.Path = os.Getenv("PATH")
			if err := fuse.Check(args[0], o.Options); err != nil { // before a tree is made
				return err
			}
			log := a.logger()
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
			defer stop()
			return a.withTree((*runtime.Runtime).Groups, func(t *group.Tree) error {
				o.Log = func(s string) { log.Warn(s) }
				return groupfs.Serve(ctx, t, args[0], o)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.Options.AllowOther, "allow-other", false, "let other users in; takes user_allow_other in /etc/fuse.conf, but for root")
	f.BoolVarP(&a.console.quiet, "quiet", "q", false, "print nothing of what is refused or ended")
	return cmd
}
