package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"mlrun/bundle"
	"mlrun/runtime"
)

// checked is the result of mlrun check in JSON.
type checked struct {
	Valid    bool      `json:"valid"`
	Problems []problem `json:"problems"`
	Warnings []problem `json:"warnings"`
}

type problem struct {
	File        string `json:"file,omitempty"`
	Path        string `json:"path"`
	Found       string `json:"found,omitempty"`
	Want        string `json:"want"`
	Unsupported bool   `json:"unsupported,omitempty"`
}

func (a *app) checkCmd() *cobra.Command {
	var (
		format string
		ignore bool
	)
	cmd := &cobra.Command{
		Use:   "check [flags] BUNDLE",
		Short: "validate a bundle without running it",
		Long:  "check lists everything that is wrong with a bundle, and what this user on this machine could not do.\n\nEXIT STATUS\n  0 when mlrun run would start it, 1 when not, 2 for a wrong command line",
		Args:  exactArgs(1, "the bundle"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := oneOf("format", format, "text", "json"); err != nil {
				return err
			}
			b, err := bundle.Load(args[0], bundle.Options{IgnoreUnsupported: ignore})
			if err == nil {
				err = runtime.Check(b)
			}
			if format == "json" {
				return a.checkJSON(b, err)
			}
			if err != nil {
				return err
			}
			for _, w := range b.Warnings {
				a.notice("warning: %s", w.Warning())
			}
			fmt.Printf("%s: valid\n", args[0])
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "text", "`FORMAT`: text or json")
	cmd.Flags().BoolVar(&ignore, "ignore-unsupported", false, "warn about properties that are not supported")
	return cmd
}

func (a *app) checkJSON(b *bundle.Bundle, err error) error {
	out := checked{Valid: err == nil, Problems: []problem{}, Warnings: []problem{}}
	var invalid *bundle.Error
	switch {
	case errors.As(err, &invalid):
		for _, p := range invalid.Problems {
			out.Problems = append(out.Problems, problem{invalid.File, p.Path, p.Found, p.Want, p.Unsupported})
		}
	case err != nil:
		out.Problems = append(out.Problems, problem{Want: err.Error()})
	}
	if b != nil {
		for _, p := range b.Warnings {
			out.Warnings = append(out.Warnings, problem{"", p.Path, p.Found, p.Want, p.Unsupported})
		}
	}
	if e := printJSON(out); e != nil {
		return e
	}
	if err != nil {
		return reported{err}
	}
	return nil
}

func (a *app) specCmd() *cobra.Command {
	var (
		dir      string
		rootless bool
	)
	cmd := &cobra.Command{
		Use:   "spec",
		Short: "write a config.json that runs as it is",
		Long:  "spec writes config.json into the bundle directory (--bundle, else the working directory). docs/config.md explains every property.\n\nEXIT STATUS\n  0 when it was written, 1 when it exists or cannot be written, 2 for a wrong command line",
		Args:  exactArgs(0, "none"),
		RunE: func(*cobra.Command, []string) error {
			path := dir + "/config.json"
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if errors.Is(err, os.ErrExist) {
				return fmt.Errorf("%s: exists already: remove it, or choose another directory with --bundle", path)
			}
			if err != nil {
				return err
			}
			_, err = f.Write(bundle.Default(os.Getuid(), os.Getgid()))
			return errors.Join(err, f.Close())
		},
	}
	cmd.Flags().StringVarP(&dir, "bundle", "b", ".", "the `DIR`ectory to write to")
	cmd.Flags().BoolVar(&rootless, "rootless", false, "accepted for compatibility: it always is")
	return cmd
}
