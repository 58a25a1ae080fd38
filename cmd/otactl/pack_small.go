package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"otad/cmd/internal/cli"
	"otad/ota/swu"
)

// prepareSmall describes what goes into an artifact beside its images, as it
// lies on the disk: the scripts, then the files.
func prepareSmall(ctx context.Context, env cli.Env, o *packOptions) ([]swu.Payload, error) {
	var payloads []swu.Payload
	for _, script := range o.scripts {
		p, err := asItIs(ctx, env, script)
		if err != nil {
			return payloads, err
		}
		p.Section = swu.SectionScripts
		payloads = append(payloads, p)
	}
	for _, file := range o.files {
		to, path, ok := strings.Cut(file, "=")
		device, at := "", strings.LastIndex(to, ":")
		if at >= 0 {
			device, to = to[:at], to[at+1:]
		}
		if !ok || path == "" || !strings.HasPrefix(to, "/") {
			return payloads, cli.Usagef("--file is %q, not [DEVICE:]PATH=FILE with a PATH that begins with /", file)
		}
		p, err := asItIs(ctx, env, path)
		if err != nil {
			return payloads, err
		}
		p.Section, p.Device, p.Path, p.Type = swu.SectionFiles, device, to, swu.TypeRawFile
		if strings.HasSuffix(to, "/") {
			p.Type = swu.TypeArchive
		}
		payloads = append(payloads, p)
	}
	return payloads, nil
}

// asItIs describes a file that is stored without a change.
func asItIs(ctx context.Context, env cli.Env, path string) (p swu.Payload, err error) {
	in, err := os.Open(path)
	if err != nil {
		return p, err
	}
	m := newMeter(env.Stderr, "reading "+filepath.Base(path), fileBytes(in))
	defer m.clear()
	p = swu.Payload{Filename: filepath.Base(path), Content: in}
	p.Stored, err = swu.Compress(io.Discard, io.TeeReader(cancelReader{ctx, in}, m), swu.KindNone)
	if err == nil {
		_, err = in.Seek(0, io.SeekStart)
	}
	if err != nil {
		return p, errors.Join(fmt.Errorf("cannot pack %q: %w", path, err), in.Close())
	}
	return p, nil
}
