//go:build !linux

package main

import "errors"

const unified = ""

type apart struct{}

func withoutUnified() (*apart, error) { return nil, errors.ErrUnsupported }

func (*apart) do(f func()) { f() }
