package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"otad/agent"
	"otad/agent/config"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/transport"
)

// Set by the linker: -X main.release=… -X main.built=SECONDS.
var (
	release = "dev"
	built   = "" // Unix seconds; the least time that a box without a clock believes
)

func buildVersion() string { return release }

// builtAt is when this otad was built, zero if nobody said.
func builtAt() time.Time {
	seconds, err := strconv.ParseInt(built, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// about is what an otad is made of.
type about struct {
	Version string            `json:"version"`
	Built   time.Time         `json:"built,omitzero"`
	Go      string            `json:"go"`
	OS      string            `json:"os"`
	Arch    string            `json:"arch"`
	Modules map[string]string `json:"modules"`
	// Settings are those of the build that change what it is: GOARM, -tags, …
	Settings map[string]string `json:"settings"`
}

func aboutOtad() about {
	a := about{Version: buildVersion(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		Modules: map[string]string{}, Settings: map[string]string{}}
	if built != "" {
		a.Built = builtAt().UTC()
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			a.Modules[m.Path] = m.Version
		}
		for _, s := range info.Settings {
			a.Settings[s.Key] = s.Value
		}
	}
	return a
}

func version(_ context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad version")
	asJSON := jsonFlag(fs)
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	about := aboutOtad()
	return answer(env, *asJSON, about, func(w io.Writer) {
		fmt.Fprintf(w, "otad %s %s/%s %s\n", about.Version, about.OS, about.Arch, about.Go)
	})
}

func configVerb(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad config")
	path, asJSON := configFlag(fs), jsonFlag(fs)
	operands, err := cli.Parse(fs, args, 1, 1)
	switch {
	case err != nil:
		return err
	case operands[0] == "status":
		return configStatus(ctx, env, *path, *asJSON)
	case operands[0] != "show" && operands[0] != "check":
		return cli.Usagef("want show, check or status, not %q", operands[0])
	case *asJSON:
		return cli.Usagef("--json goes with status only")
	}
	cfg, err := config.Load(*path)
	if err != nil {
		return err
	}
	if operands[0] == "check" {
		return checkConfiguration(env, *path, cfg)
	}
	_, err = fmt.Fprint(env.Stdout, cfg.Text())
	return err
}

// checkConfiguration also opens what the settings name, but speaks to nobody.
func checkConfiguration(env cli.Env, path string, cfg *config.Config) error {
	if _, err := openTrust(cfg); err != nil {
		return err
	}
	clock := &agent.Clock{Local: time.Now, Build: builtAt()}
	tls, err := tlsConfig(cfg.Server.CA, clock)
	if err != nil {
		return err
	}
	if _, err := openServer(cfg, tls); err != nil {
		return err
	}
	if len(cfg.MQTT.Brokers) > 0 {
		o, err := brokerOptions(cfg, &box{clock: clock})
		if err != nil {
			return err
		}
		o.Receive = func(transport.Message) {} // as the door sets it
		if err := o.Check(); err != nil {
			return err
		}
		if _, err := commandKeys(cfg); err != nil {
			return err
		}
	}
	if _, err := openBoard(cfg, slog.New(slog.DiscardHandler), true); err != nil {
		return err
	}
	if _, err := cfg.RunningVersion(); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "%s: right\n", path)
	return nil
}

// clientCertificate adds the box's own certificate, for mutual TLS.
func clientCertificate(c *tls.Config, m config.MQTT) error {
	pair, err := tls.LoadX509KeyPair(m.Certificate, m.Key)
	if err != nil {
		return ota.NewPermanent(ota.CodeConfig, fmt.Errorf("cannot use mqtt.certificate: %w", err))
	}
	c.Certificates = []tls.Certificate{pair}
	return nil
}
