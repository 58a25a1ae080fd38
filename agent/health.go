package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"otad/board"
	"otad/ota"
	"otad/ota/hook"
)

// checkHealth judges the system on trial: it is the version that was promised,
// the board is content, and every hook agrees before the deadline. That this
// code runs, has read its configuration and its journal, is proved by running.
func (a *Agent) checkHealth(ctx context.Context, rec ota.Record) (ota.Event, error) {
	// Files alone do not make another version of the system.
	if want := rec.Offer.VersionCode; want != 0 && a.Running.Code != want && !rec.Applied {
		return nil, ota.NewPermanent(ota.CodeVersionMismatch,
			fmt.Errorf("cannot confirm the new system: it says that it is version %d, %d was offered", a.Running.Code, want)).
			WithHint("the image's version file does not fit the version on the server")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(a.Config.Health.Timeout))
	defer cancel()
	if h, ok := a.Board.(board.Health); ok {
		if err := h.Health(ctx); err != nil {
			return nil, unhealthy(fmt.Errorf("the board: %w", err))
		}
	}
	hooks, err := healthHooks(a.Config.Health.Hooks)
	if err != nil {
		return nil, unhealthy(err)
	}
	for _, path := range hooks {
		if _, err := hook.Run(ctx, path, nil); err != nil {
			return nil, unhealthy(err)
		}
	}
	return ota.Healthy{}, nil
}

func unhealthy(err error) error {
	return ota.NewPermanent(ota.CodeUnhealthy, fmt.Errorf("cannot confirm the new system: %w", err))
}

// healthHooks lists the executables in dir in the order of their names. No
// such directory: no hooks.
func healthHooks(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var hooks []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			hooks = append(hooks, filepath.Join(dir, e.Name()))
		}
	}
	return hooks, nil
}
