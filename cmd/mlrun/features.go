package main

import (
	"github.com/spf13/cobra"

	"mlrun/runtime"
)

func (a *app) featuresCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "features",
		Short: "tell what this mlrun can do on this machine",
		Long: `features prints the features document of the OCI runtime-spec as JSON. Under "mlrun" it says how the memory limit is
watched here: whether by events of the kernel or by deadlines alone, and by how much a limit may be exceeded; how each limit is held; and
which mechanisms of the kernel that mlrun uses work here, each of which it has tried.

EXIT STATUS
  0, 2 for a wrong command line`,
		Args: exactArgs(0, "none"),
		RunE: func(*cobra.Command, []string) error { return printJSON(runtime.GetFeatures()) },
	}
}
