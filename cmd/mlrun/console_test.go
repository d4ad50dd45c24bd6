package main

import "testing"

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "",
		"größe: 3 %":             "größe: 3 %",
		"two\nlines":             "two lines",
		"\x1b[31mred\r\a":        `\x1b[31mred\r\a`,
		"\u009b31m\u202e \ufffd": `\u009b31m\u202e ` + "\ufffd",
		"\xff\xfe":               `\xff\xfe`,
		`"quoted" \`:             `"quoted" \`,
	} {
		if got := oneLine(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
