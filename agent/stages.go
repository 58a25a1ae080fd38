package agent

import (
	"log/slog"
	"time"

	"otad/ota/install"
	"otad/ota/pace"
)

// stages tells the log how long each stage of an install took and what it cost
// otad of the processor: whether a slow install is the network's fault, the
// medium's or ours. It belongs to the worker; the zero value measures nothing
// yet.
type stages struct {
	stage install.Stage // "": none
	bytes int64
	begun time.Time
	used  time.Duration // of the processor, when it began
}

// at takes note of a stage's progress; another stage ends the one before.
func (s *stages) at(log *slog.Logger, stage install.Stage, done int64) {
	if stage != s.stage {
		s.end(log)
		s.stage, s.begun, s.used = stage, time.Now(), pace.Used()
	}
	s.bytes = done
}

// end closes the stage under way.
func (s *stages) end(log *slog.Logger) {
	if s.stage != "" {
		log.Info("stage ended", "stage", s.stage, "bytes", s.bytes,
			"took", time.Since(s.begun).Round(time.Millisecond), "processor", (pace.Used() - s.used).Round(time.Millisecond))
	}
	*s = stages{}
}
