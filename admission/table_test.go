package admission

import "testing"

// What a dead process leaves may lie between records that are free already.
func TestDropAll(t *testing.T) {
	tb, err := openTable(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer tb.close()
	if err := tb.lock(lockTime); err != nil {
		t.Fatal(err)
	}
	defer tb.unlock()
	for n := range 10 {
		if _, err := tb.put(&record{state: holding, ticket: uint64(n + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range []int{2, 5, 6, 7, 8} {
		if err := tb.drop(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := tb.dropAll(func(*record) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if len(tb.list) != 0 || tb.head.size != 0 {
		t.Errorf("%d records are left, the table says %d", len(tb.list), tb.head.size)
	}
}
