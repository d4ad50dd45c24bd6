package groupfs

import (
	"context"
	"errors"
	"path/filepath"

	"mlrun/group"
	"mlrun/group/fuse"
)

func serve(ctx context.Context, tree *group.Tree, dir string, o Options) error {
	o.Lock = filepath.Join(tree.Dir(), "mounts")
	f := New(tree, o.Log)
	s, err := fuse.Mount(dir, f, o.Options)
	if err != nil {
		f.Close()
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve() }()
	if o.Mounted != nil {
		o.Mounted()
	}
	select {
	case err = <-ended:
		err = errors.Join(err, s.Close())
	case <-ctx.Done():
		err = errors.Join(s.Close(), <-ended)
	}
	f.Close()
	return err
}
