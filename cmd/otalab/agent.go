package main

import (
	"flag"
	"os"
	"path/filepath"
	"time"

	"otad/agent/config"
)

// pollEvery is how often boxes of the lab ask for something new.
const pollEvery = config.Duration(3 * time.Second)

// agentFlag is the otad binary that goes into images: by default the one that
// lies beside otalab.
func agentFlag(fs *flag.FlagSet) *string {
	name := "otad"
	if self, err := os.Executable(); err == nil {
		name = filepath.Join(filepath.Dir(self), "otad")
	}
	return fs.String("otad", name, "the otad binary to put into images")
}
