package store

import (
	"os"
	"testing"
)

// TestRemoveMeetsAnother removes a container that somebody else removes in the same moment: what is open of it has no name any more.
func TestRemoveMeetsAnother(t *testing.T) {
	dir := t.TempDir() + "/x"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := (&Dir{ID: "x", path: dir, held: f}).Remove(); err != nil {
		t.Error(err)
	}
}
