package main

import (
	"runtime"
	"runtime/debug"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// A build says which command this is.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"` // "" where it wasn't built from a clone
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

var version = sync.OnceValue(func() build {
	b := build{Version: "devel", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Commit = s.Value
		}
	}
	return b
})

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Which command this is", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := version()
			return c.print(b, func(w *tabwriter.Writer) {
				row(w, "walletcrew", b.Version)
				row(w, "commit", b.Commit)
				row(w, "go", b.Go+" "+b.OS+"/"+b.Arch)
			})
		},
	}
}
