package bundle

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestDefault(t *testing.T) {
	for _, id := range []int{-1, 0, 1000, 2147483647} {
		data := Default(id, id)
		b, err := Load(write(t, string(data)), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if id < 0 {
			if b.UID != nil || b.GID != nil {
				t.Errorf("user %+v", b.Spec.Process.User)
			}
		} else if b.UID == nil || b.GID == nil || int(*b.UID) != id || int(*b.GID) != id {
			t.Errorf("user %+v, want %d", b.Spec.Process.User, id)
		}
		if b.MemoryLimit != 256<<20 {
			t.Errorf("memory limit %d", b.MemoryLimit)
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, data, "", "\t"); err != nil || indented.String() != string(data) {
			t.Errorf("not indented: %v\n%s", err, data)
		}
	}
}
