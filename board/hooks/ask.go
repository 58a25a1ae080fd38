package hooks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"otad/board"
	"otad/ota/hook"
)

// checkHook refuses what anybody but the image's maker could have put there.
func (b *Powers) checkHook(act string, must bool) error {
	info, err := os.Stat(filepath.Join(b.dir, act))
	switch {
	case errors.Is(err, fs.ErrNotExist) && !must:
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%q is not an executable file", act)
	case info.Mode()&0o002 != 0:
		return fmt.Errorf("%q can be written by everybody", act)
	}
	return nil
}

// ask runs the hook of an act and reads its answer into answer, unless that is nil.
func (b *Powers) ask(ctx context.Context, r request, answer any) error {
	r.V = 1
	var input bytes.Buffer
	encoder := json.NewEncoder(&input)
	encoder.SetEscapeHTML(false) // what a shell script reads is plain
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("cannot ask hook %q: %w", r.Act, err)
	}
	if r.Act != actHealth && r.Act != actPrompt { // the time for these is the caller's
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.timeout)
		defer cancel()
	}
	result, err := hook.Run(ctx, filepath.Join(b.dir, r.Act), input.Bytes())
	if err != nil {
		return classed(err)
	}
	if result.Said != "" {
		b.log.Info("a hook said", "hook", r.Act, "text", result.Said)
	}
	if answer == nil {
		return nil
	}
	if err := decode(result.Answer, answer); err != nil {
		return fmt.Errorf("hook %q: cannot read its answer: %w", r.Act, err)
	}
	return nil
}

// decode reads one JSON value with members of the contract only, so that a
// typing error in a hook does not become a missing fact.
func decode(data []byte, value any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(value); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the value")
	}
	return nil
}

// classed gives exit codes their meaning.
func classed(err error) error {
	var e *hook.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case exitNoFallback:
		return fmt.Errorf("%w: %w", board.ErrNoFallback, err)
	case exitEnvironment:
		return fmt.Errorf("%w: %w", board.ErrEnvironment, err)
	}
	return err
}
