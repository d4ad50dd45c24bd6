//go:build !linux

package fuse
