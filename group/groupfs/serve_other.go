//go:build !linux

package groupfs

import (
	"context"

	"mlrun/group"
	"mlrun/group/fuse"
)

func serve(context.Context, *group.Tree, string, Options) error { return fuse.ErrUnsupported }
