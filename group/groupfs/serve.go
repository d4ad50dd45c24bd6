package groupfs

import (
	"context"

	"mlrun/group"
	"mlrun/group/fuse"
)

// Options of Serve.
type Options struct {
	fuse.Options
	// Log gets a line for each failure, and for each move whose processes are ended; nil: nobody does.
	Log func(string)
	// Mounted is called when the files are there; nil: nobody is told.
	Mounted func()
}

// Serve mounts a tree on a directory, and answers until ctx ends or somebody unmounts it. Then it returns nil, and those who have moved are in no group any
// more. The errors are those of fuse.Mount.
func Serve(ctx context.Context, tree *group.Tree, dir string, o Options) error {
	if o.Log == nil {
		o.Log = func(string) {}
	}
	o.Name = "mlrun" // as mounts(5) has it
	return serve(ctx, tree, dir, o)
}
