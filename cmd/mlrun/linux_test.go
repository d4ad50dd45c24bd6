//go:build !portable

package main

// portable tells that mlrun is built with what macOS has, and without what only Linux has (package proc).
const portable = false
