package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"otad/agent/config"
	"otad/cmd/internal/cli"
	"otad/cmd/otalab/lab"
	"otad/ota"
)

// What the lab's boxes are.
const (
	model       = "stv1"
	revision    = "1.0"
	systemBytes = 64 << 20 // in each system image
	slotBytes   = 96 << 20
)

// up runs the servers until it is interrupted.
func up(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otalab up")
	dir := fs.String("dir", ".lab", "where keys and published artifacts are kept")
	addr := fs.String("addr", "", "where HTTP listens; a free loopback port by default")
	mqtt := fs.String("mqtt", "", "where the broker listens; a free loopback port by default")
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return fmt.Errorf("cannot start the lab: %w", err)
	}
	ca, err := lab.OpenKeys(*dir)
	if err != nil {
		return err
	}
	server, err := lab.Start(lab.Options{Addr: *addr, Broker: *mqtt, Dir: *dir, CA: ca})
	if err != nil {
		return err
	}
	defer server.Close()
	printHowTo(env.Stdout, server, *dir)
	<-ctx.Done()
	return nil
}

func printHowTo(w io.Writer, s *lab.Server, dir string) {
	a := s.Access()
	key := func(name string) string { return filepath.Join(dir, name) }
	broker := strings.TrimPrefix(s.Broker.URL(), "tcp://")
	host, port, _ := net.SplitHostPort(broker) // it is a listener's
	fmt.Fprintf(w, `UpgradeLink   %s  (access key %s, secret key %s, url key %s)
MQTT          %s  (topics %s/%s/DEVICE/...)
trusted CA    %s

A box, in another terminal:
  otalab box --dir %s --lab %s
What it says:
  mosquitto_sub -h %s -p %s -v -t '%s/#'
A new version for it:
  otalab image --code 2 --name v2.0 -o 2.squashfs
  otactl pack --key %s --cert %s --model %s --version 2 --image rootfs=2.squashfs -o 2.swu
  otalab publish --lab %s --code 2 --name v2.0 2.swu
`, a.URL, a.AccessKey, a.SecretKey, a.URLKey, s.Broker.URL(), a.Prefix, model, key(lab.CAFile),
		key("box"), a.URL, host, port, a.Prefix, key(lab.KeyFile), key(lab.CertFile), model, a.URL)
}

// publish hands an artifact to a running lab.
func publish(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otalab publish")
	url := fs.String("lab", "", "URL that `otalab up` printed")
	code := fs.Int64("code", 0, "version code")
	name := fs.String("name", "", "version name")
	kind := fs.Int("type", int(ota.UpgradeSilent), "1 prompt, 2 silent, 3 forced")
	what := fs.String("as", "", "configuration: the file is a JSON object; package: an artifact of the launcher; firmware by default")
	operands, err := cli.Parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	if *url == "" || *code <= 0 {
		return cli.Usagef("--lab and --code are needed")
	}
	text, err := lab.PublishTo(ctx, *url, lab.Release{
		Version: ota.Version{Code: *code, Name: *name}, Type: ota.UpgradeType(*kind), File: operands[0], What: *what,
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(env.Stdout, text)
	return err
}

// fault makes the host of a running lab misbehave.
func fault(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otalab fault")
	url := fs.String("lab", "", "URL that `otalab up` printed")
	code := fs.Int64("code", 0, "version code")
	faults, err := cli.Parse(fs, args, 0, 8)
	if err != nil {
		return err
	}
	if len(faults) == 0 {
		_, err := io.WriteString(env.Stdout, lab.FaultHelp())
		return err
	}
	if *url == "" || *code <= 0 {
		return cli.Usagef("--lab and --code are needed")
	}
	text, err := lab.MisbehaveAt(ctx, *url, *code, faults)
	if err != nil {
		return err
	}
	_, err = io.WriteString(env.Stdout, text)
	return err
}

// image builds a system image.
func image(_ context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otalab image")
	code := fs.Int64("code", 0, "version code")
	name := fs.String("name", "", "version name")
	broken := fs.Bool("broken", false, "the system fails its health check")
	agent := agentFlag(fs)
	out := fs.String("o", "", "the image to write")
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	if *out == "" || *code <= 0 {
		return cli.Usagef("--code and -o are needed")
	}
	system := lab.System{Version: ota.Version{Code: *code, Name: *name}, Agent: *agent, Health: lab.Healthy, SizeBytes: systemBytes}
	if *broken {
		system.Health = lab.Broken
	}
	return system.Build(*out)
}

// box plays a box until it is interrupted.
func box(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otalab box")
	dir := fs.String("dir", "", "the directory that is the box")
	url := fs.String("lab", "", "URL that `otalab up` printed, for a new box")
	device := fs.String("device", "02:00:00:00:00:01", "device key of a new box")
	agent := agentFlag(fs)
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	if *dir == "" {
		return cli.Usagef("--dir is needed")
	}
	path, err := filepath.Abs(*dir)
	if err != nil {
		return fmt.Errorf("cannot find box %q: %w", *dir, err)
	}
	b, err := lab.Open(path)
	if err != nil && *url != "" {
		b, err = newBox(ctx, path, *url, *device, *agent)
	}
	if err != nil {
		return err
	}
	b.Console = func(line string) { fmt.Fprintln(env.Stdout, line) }
	b.Log = env.Stdout
	b.PowerOn()
	defer b.PullPlug()
	select {
	case <-ctx.Done():
	case <-b.Ended():
	}
	return nil
}

// newBox makes a box with version 1 for the lab at url.
func newBox(ctx context.Context, dir, url, device, agent string) (*lab.Box, error) {
	access, ca, err := lab.AccessTo(ctx, url)
	if err != nil {
		return nil, err
	}
	image := dir + ".factory"
	defer os.Remove(image)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("cannot make box %q: %w", dir, err)
	}
	system := lab.System{Version: ota.Version{Code: 1, Name: "v1.0"}, Agent: agent, Health: lab.Healthy, SizeBytes: systemBytes}
	if err := system.Build(image); err != nil {
		return nil, err
	}
	rules := config.Default().Policy
	rules.CheckEvery = pollEvery
	return lab.Create(dir, lab.Factory{
		Model: model, Device: device, Revision: revision, Image: image, SlotBytes: slotBytes,
		TrustedCA: ca, Access: access, Policy: rules,
	})
}
