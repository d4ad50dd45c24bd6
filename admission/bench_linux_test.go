package admission

import "testing"

func BenchmarkTryNow(b *testing.B) {
	for _, c := range []struct {
		name    string
		reserve int64
	}{{"unknown", 0}, {"reserve", 1 << 20}} {
		b.Run(c.name, func(b *testing.B) {
			q, err := Open(b.TempDir(), Host{})
			if err != nil {
				b.Fatal(err)
			}
			defer q.Close()
			for b.Loop() {
				t, err := q.Join(Criteria{Available: Percent(1), Reserve: c.reserve})
				if err != nil || !t.TryNow() {
					b.Fatal(err)
				}
				t.Release()
			}
		})
	}
}
