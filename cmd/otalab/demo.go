package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"otad/agent/config"
	"otad/board"
	"otad/board/sim"
	"otad/cmd/internal/cli"
	"otad/cmd/otalab/lab"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/swu/swutest"
	"otad/transport/download/downloadtest"
)

const (
	demoDevice = "02:00:00:00:00:01"
	demoLimit  = 115 * time.Second // of the whole story
	stepLimit  = 45 * time.Second  // of one update
	watchTime  = 7 * time.Second   // how long the download of 2 takes: there is something to see
)

// story is the demo: its stage and its actors.
type story struct {
	*screen
	checks
	agent string // the otad binary
	dir   string

	keys       swutest.Authority
	server     *lab.Server
	subscriber *subscriber
	box        *lab.Box
	board      *sim.Board // to look, never to touch
	log        *os.File   // what otad says itself

	mu    sync.Mutex
	boots []string // slots, in the order in which the bootloader started them
}

// demo tells the story of three updates and checks it.
func demo(ctx context.Context, env cli.Env, args []string) (err error) {
	fs := cli.Flags("otalab demo")
	agent := agentFlag(fs)
	keep := fs.String("keep", "", "a new directory for all files, which stay")
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	s := &story{screen: newScreen(env.Stdout), agent: *agent}
	s.checks.screen = s.screen
	if s.dir, err = stage(*keep); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, demoLimit, fmt.Errorf("the story took longer than %s", demoLimit))
	err = s.tell(ctx)
	s.endProgress()
	if err != nil && ctx.Err() == nil {
		s.tail(s.log, 25)
	}
	cancel()
	err = errors.Join(err, s.leave(*keep != ""))
	if err != nil {
		return err
	}
	s.section("What was promised, and checked")
	s.table()
	s.say("")
	if n := s.broken(); n > 0 {
		s.say("%d of %d promises were broken.", n, len(s.all))
		return cli.Exit(cli.Failed)
	}
	s.say("%d promises kept in %.0f seconds.", len(s.all), time.Since(s.started).Seconds())
	return nil
}

// stage makes the directory. Its name is short, because a socket will be in it.
func stage(keep string) (string, error) {
	if keep == "" {
		return os.MkdirTemp("", "otalab")
	}
	dir, err := filepath.Abs(keep)
	if err == nil {
		err = os.Mkdir(dir, 0o755)
	}
	if err != nil {
		return "", fmt.Errorf("cannot make directory for the demo: %w", err)
	}
	return dir, nil
}

func (s *story) tell(ctx context.Context) error {
	for _, chapter := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"Four systems are built, packed and signed", s.build},
		{"A box leaves the factory with version 1", s.factory},
		{"Version 2 is published; its download is killed half-way", s.update},
		{"Version 3 is signed and broken", s.rollBack},
		{"Version 4 was changed on its way", s.refuse},
	} {
		s.section(chapter.title)
		if err := chapter.tell(ctx); err != nil {
			if context.Cause(ctx) != nil {
				return context.Cause(ctx)
			}
			return err
		}
	}
	return nil
}

func (s *story) imageOf(code int64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%d.squashfs", code))
}
func (s *story) artifactOf(code int64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%d.swu", code))
}

func versionOf(code int64) ota.Version {
	return ota.Version{Code: code, Name: fmt.Sprintf("v%d.0", code)}
}

// build makes images 1 to 4 and artifacts 2 to 4.
func (s *story) build(ctx context.Context) error {
	var err error
	if s.keys, err = swutest.NewAuthority(); err != nil {
		return err
	}
	for code := int64(1); code <= 4 && ctx.Err() == nil; code++ {
		system := lab.System{Version: versionOf(code), Agent: s.agent, Health: lab.Healthy, SizeBytes: systemBytes}
		if code == 3 {
			system.Health = lab.Broken
		}
		if err := system.Build(s.imageOf(code)); err != nil {
			return err
		}
		if code == 1 {
			continue
		}
		if err := lab.Pack(s.keys, s.artifactOf(code), s.imageOf(code), model, fmt.Sprint(code)); err != nil {
			return err
		}
	}
	// Nothing of 4 will ever be in a slot to be compared.
	if err := errors.Join(lab.Tamper(s.artifactOf(4)), os.Remove(s.imageOf(4))); err != nil {
		return err
	}
	info, err := os.Stat(s.imageOf(2))
	if err != nil {
		return err
	}
	s.say("each is a squashfs with its own otad inside, an ECDSA key signed them, a box trusts its CA")
	s.say("4 was changed after it was signed: two bytes swapped, so that even cpio's check sum fits")
	s.that(info.Size() >= 64<<20, "images are real ones", "%.1f MiB of squashfs each", mib(info.Size()))
	return ctx.Err()
}

// factory starts the servers and a box that runs version 1.
func (s *story) factory(ctx context.Context) error {
	var err error
	if s.server, err = lab.Start(lab.Options{Dir: s.dir, CA: s.keys.CA}); err != nil {
		return err
	}
	if s.subscriber, err = subscribe(ctx, s.server.Broker.URL(), s.screen); err != nil {
		return err
	}
	s.say("UpgradeLink and firmware at %s, broker at %s", s.server.URL, s.server.Broker.URL())
	rules := config.Default().Policy
	rules.CheckEvery = pollEvery
	s.box, err = lab.Create(filepath.Join(s.dir, "box"), lab.Factory{
		Model: model, Device: demoDevice, Revision: revision, Image: s.imageOf(1), SlotBytes: slotBytes,
		TrustedCA: s.keys.CA, Access: s.server.Access(), Policy: rules,
	})
	if err != nil {
		return err
	}
	if s.board, err = sim.Open(durable.OS, filepath.Join(s.dir, "box")); err != nil {
		return err
	}
	if s.log, err = os.Create(filepath.Join(s.dir, "otad.log")); err != nil {
		return err
	}
	s.box.Log = s.log
	s.box.Console = s.console
	s.beside("THE BOX", "WHAT AN INDEPENDENT MQTT SUBSCRIBER SEES")
	s.box.PowerOn()
	err = s.subscriber.until(ctx, stepLimit, "version 1 online", func(v sight) bool {
		return v.state.Online && v.state.Version.Code == 1
	})
	if err != nil {
		return err
	}
	s.that(true, "box starts", "version 1 is online after %.1f s", time.Since(s.started).Seconds())
	return nil
}

// console shows what the box does and keeps the boots.
func (s *story) console(line string) {
	if slot, ok := strings.CutPrefix(line, "bootloader: starting slot "); ok {
		s.mu.Lock()
		s.boots = append(s.boots, slot)
		s.mu.Unlock()
	}
	s.did(line)
}

func (s *story) bootsSince(n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.boots[n:])
}

// publish offers version code to every box.
func (s *story) publish(code int64) (*downloadtest.File, error) {
	return s.server.Publish(lab.Release{Version: versionOf(code), Type: ota.UpgradeSilent, File: s.artifactOf(code)})
}

// settled waits until the box runs version code and has nothing under way.
func (s *story) settled(ctx context.Context, code int64) error {
	return s.subscriber.until(ctx, stepLimit, fmt.Sprintf("version %d at rest", code), func(v sight) bool {
		return v.state.Online && v.state.Version.Code == code && v.state.Phase == ota.PhaseIdle
	})
}

// runs checks which slot runs, for good.
func (s *story) runs(what, slot string) board.Boot {
	boot, err := s.board.Current(context.Background())
	s.that(err == nil && boot.Slot == slot && !boot.Trial && boot.Next == slot, what,
		"slot %s runs, confirmed, and is started next", boot.Slot)
	return boot
}

// slotHolds checks that a slot holds an image, byte for byte.
func (s *story) slotHolds(slot string, code int64) {
	path, err := s.box.SlotPath(slot)
	if err == nil {
		err = sameBytes(path, s.imageOf(code))
	}
	s.holds(fmt.Sprintf("slot %s is image %d", slot, code), err, "byte for byte")
}

// leave ends everything and checks that nothing is left.
func (s *story) leave(keep bool) error {
	var err error
	if s.box != nil {
		s.box.PullPlug()
	}
	if s.subscriber != nil {
		s.subscriber.close()
	}
	if s.server != nil {
		err = s.server.Close()
	}
	if s.log != nil {
		err = errors.Join(err, s.log.Close())
	}
	left := running(s.dir)
	s.that(len(left) == 0, "nothing is left running", "%d processes of the demo %s", len(left), strings.Join(left, ", "))
	if keep {
		s.say("all files are in %s", s.dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// tail shows the end of a log, when something went wrong.
func (s *story) tail(f *os.File, lines int) {
	if f == nil {
		return
	}
	text, err := os.ReadFile(f.Name())
	if err != nil {
		return
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	s.section("The last words of otad")
	for _, line := range all[max(0, len(all)-lines):] {
		s.line("%s", line)
	}
}
