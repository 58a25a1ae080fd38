package agent

import (
	"bytes"
	"log/slog"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"otad/ota/install"
)

// Each stage is logged once, when the next one begins or all is done.
func TestStages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		log := slog.New(slog.NewTextHandler(&said, nil))
		var s stages
		s.end(log) // nothing was begun
		s.at(log, install.StageWrite, 1)
		time.Sleep(3 * time.Second)
		s.at(log, install.StageWrite, 2)
		s.at(log, install.StageReadBack, 1)
		time.Sleep(time.Second)
		s.at(log, install.StageReadBack, 2)
		s.end(log)
		want := regexp.MustCompile(`(?s)^\S+ level=INFO msg="stage ended" stage=write bytes=2 took=3s processor=\S+\n` +
			`\S+ level=INFO msg="stage ended" stage=read-back bytes=2 took=1s processor=\S+\n$`)
		if !want.Match(said.Bytes()) {
			t.Errorf("the log says:\n%s", said.String())
		}
	})
}
