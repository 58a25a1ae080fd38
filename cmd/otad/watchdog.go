package main

import (
	"log/slog"
	"time"

	"otad/agent"
	"otad/agent/config"
	"otad/board/watchdog"
)

// openWatchdog returns how the service starts its watchdog, nil without one.
func openWatchdog(c config.Watchdog, log *slog.Logger) func() (agent.Watchdog, time.Duration, error) {
	if c.Device == "" {
		return nil
	}
	return func() (agent.Watchdog, time.Duration, error) {
		d, err := watchdog.Open(c.Device, time.Duration(c.Timeout))
		if err != nil {
			return nil, 0, err
		}
		if d.NoWayOut {
			log.Warn("the watchdog cannot be stopped: when the service ends, the box is reset unless it starts again in time", "device", c.Device)
		}
		return d, d.Timeout, nil
	}
}
