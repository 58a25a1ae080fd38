package main_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"otad/agent/config"
	"otad/board"
	"otad/board/sim"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/swu/swutest"
	"otad/transport/download/downloadtest"
	"otad/transport/upgradelink/upgradelinktest"
)

const (
	model  = "stv1"
	device = "02:00:00:00:00:01"
	urlKey = "firmware"
	secret = upgradelinktest.DemoSecretKey
)

// authority signs what boxes trust.
var authority = sync.OnceValue(func() swutest.Authority {
	a, err := swutest.NewAuthority()
	if err != nil {
		panic(err)
	}
	return a
})

// site is all that a box talks to: the API and a file host.
type site struct {
	api  *upgradelinktest.Server
	host *downloadtest.Host
	url  string // of the host
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{api: upgradelinktest.NewServer(upgradelinktest.Options{}), host: &downloadtest.Host{}}
	files := httptest.NewServer(s.host)
	t.Cleanup(func() { s.api.Close(); files.CloseClientConnections(); files.Close() })
	s.url = files.URL
	s.api.Edit(upgradelinktest.URL, urlKey, func(*upgradelinktest.App) {})
	return s
}

// apiURL is where the API answers.
func (s *site) apiURL() string {
	if s.api.URL == "" { // it shares a port with the host
		return s.url
	}
	return s.api.URL
}

// offer makes the site offer a version at url, silently, and nothing else.
func (s *site) offer(code int64, url string) { s.offerAs(ota.UpgradeSilent, code, url) }

func (s *site) offerAs(kind ota.UpgradeType, code int64, url string) {
	s.api.Delete(upgradelinktest.URL, urlKey)
	s.publish(kind, code, url)
}

// publish offers a version beside the ones that are offered already.
func (s *site) publish(kind ota.UpgradeType, code int64, url string) {
	s.api.Publish(upgradelinktest.URL, urlKey, upgradelinktest.Version{Code: code, URL: url},
		upgradelinktest.Strategy{UpgradeType: int(kind)})
}

// serve puts an artifact on the host and returns its URL.
func (s *site) serve(name string, artifact []byte) (string, *downloadtest.File) {
	path := "/fw/" + name
	return s.url + path, s.host.Add(path, downloadtest.Bytes(artifact))
}

// release serves and offers a system.
func (s *site) release(t *testing.T, sys system) *downloadtest.File {
	t.Helper()
	url, file := s.serve(fmt.Sprintf("%d.swu", sys.code), sys.artifact(t))
	s.offer(sys.code, url)
	return file
}

// system is the content of a slot. The first line of its image is its version,
// the second what its health hook does; the rest is noise.
type system struct {
	code   int64
	health string // shell, or hangs; empty: healthy
	bytes  int    // of the image; 0 for imageBytes
}

// hangs is the health of a system that never comes up.
const hangs = "hangs"

const (
	slotBytes  = 2 << 20
	imageBytes = 5<<18 + 4321
)

func (s system) image() []byte {
	size := s.bytes
	if size == 0 {
		size = imageBytes
	}
	image := make([]byte, size)
	noise := rand.NewChaCha8([32]byte{byte(s.code)})
	noise.Read(image) // never fails
	health := s.health
	if health == "" {
		health = "exit 0"
	}
	copy(image, fmt.Sprintf("%d v%d\n%s\n", s.code, s.code, health))
	return image
}

func (s system) artifact(t *testing.T) []byte {
	t.Helper()
	if packed, ok := packs.Load(s); ok {
		return packed.([]byte)
	}
	artifact := pack(t, authority(), model, fmt.Sprint(s.code), s.image())
	packs.Store(s, artifact)
	return artifact
}

// packs keeps the artifact of each system: packing is slow with the race
// detector.
var packs sync.Map

func pack(t *testing.T, a swutest.Authority, model, version string, image []byte) []byte {
	t.Helper()
	var artifact bytes.Buffer
	must(t, a.Pack(&artifact, model, version, bytes.NewReader(image)))
	return artifact.Bytes()
}

// machine is a box's bootloader and power supply; *sim.Machine is one.
type machine interface {
	PowerOn() (slot, image string, err error)
	RebootRequested() (reason string, err error)
	SlotPath(slot string) (string, error)
}

// box is a simulated box that runs system 1 in slot a. The test plays its
// kernel and its init.
type box struct {
	t       *testing.T
	dir     string
	machine machine
	config  config.Config
	wrap    []string          // the command that runs otad, where otad is not run as it is
	booted  func(slot string) // looks on at every boot, if set
}

// newBox makes a box, edits its settings and switches it on.
func newBox(t *testing.T, s *site, edit ...func(*config.Config)) *box {
	t.Helper()
	return newBoxOf(t, s, slotBytes, edit...)
}

func newBoxOf(t *testing.T, s *site, slotBytes int64, edit ...func(*config.Config)) *box {
	t.Helper()
	return newBoxIn(t, "", s, slotBytes, edit...)
}

// newBoxIn makes a box below parent, "" for where temporary files are.
func newBoxIn(t *testing.T, parent string, s *site, slotBytes int64, edit ...func(*config.Config)) *box {
	t.Helper()
	return assemble(t, parent, s, func(b *box) machine {
		must(t, sim.Create(durable.OS, b.path("board"), slotBytes, "a", "b"))
		m, err := sim.NewMachine(durable.OS, b.path("board"))
		must(t, err)
		return m
	}, edit...)
}

// assemble makes a box around a machine.
func assemble(t *testing.T, parent string, s *site, build func(*box) machine, edit ...func(*config.Config)) *box {
	t.Helper()
	// Not t.TempDir: the path of a socket has room for 107 bytes.
	dir, err := os.MkdirTemp(parent, "box")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &box{t: t, dir: dir}
	b.machine = build(b)
	b.flash("a", system{code: 1}.image())
	b.write("ca.pem", authority().CA)
	b.write("secret", []byte(secret+"\n"))
	must(t, os.Mkdir(b.path("health.d"), 0o755))
	b.config = b.settings(s)
	b.configure(edit...)
	b.boot()
	return b
}

func (b *box) settings(s *site) config.Config {
	c := config.Default()
	c.Device = config.Device{Model: model, Key: device, Revision: "1.0"}
	c.Server = config.Server{URL: s.apiURL(), AccessKey: upgradelinktest.DemoAccessKey, SecretKeyFile: b.path("secret")}
	c.Firmware = config.Firmware{URLKey: urlKey, VersionFile: b.path("version")}
	c.Trust.CA = []string{b.path("ca.pem")}
	c.Policy.CheckEvery = config.Duration(time.Second)
	c.Download.Dir = b.path("staging")
	c.Download.RetryFirst, c.Download.RetryMax = config.Duration(10*time.Millisecond), config.Duration(50*time.Millisecond)
	c.Download.Checkpoint = 1 << 20
	c.Board.Driver, c.Board.Dir = "sim", b.path("board")
	c.Health.Hooks = b.path("health.d")
	c.Control.Socket = b.path("sock")
	c.State.Dir = b.path("state")
	return c
}

// configure writes the settings file; edit changes it, and b.config not.
func (b *box) configure(edit ...func(*config.Config)) {
	b.t.Helper()
	c := b.config
	for _, e := range edit {
		e(&c)
	}
	text, err := toml.Marshal(c)
	must(b.t, err)
	b.write("otad.toml", text)
}

func (b *box) path(name string) string { return filepath.Join(b.dir, name) }

func (b *box) write(name string, data []byte) {
	b.t.Helper()
	must(b.t, os.WriteFile(b.path(name), data, 0o644))
}

func (b *box) read(path string) []byte {
	b.t.Helper()
	data, err := os.ReadFile(path)
	must(b.t, err)
	return data
}

func (b *box) slot(name string) string {
	b.t.Helper()
	path, err := b.machine.SlotPath(name)
	must(b.t, err)
	return path
}

// flash puts an image at the beginning of a slot.
func (b *box) flash(slot string, image []byte) {
	b.t.Helper()
	f, err := os.OpenFile(b.slot(slot), os.O_WRONLY, 0)
	must(b.t, err)
	_, err = f.Write(image)
	must(b.t, err)
	must(b.t, f.Close())
}

// holds tells whether a slot begins with an image.
func (b *box) holds(slot string, image []byte) bool {
	b.t.Helper()
	return bytes.HasPrefix(b.read(b.slot(slot)), image)
}

// boot is a power cycle: the bootloader chooses a slot, and the kernel mounts
// it. It returns the slot.
func (b *box) boot() string {
	b.t.Helper()
	slot, image, err := b.machine.PowerOn()
	must(b.t, err)
	head := make([]byte, 4096)
	f, err := os.Open(image)
	must(b.t, err)
	_, err = io.ReadFull(f, head)
	must(b.t, err)
	must(b.t, f.Close())
	lines := strings.SplitN(string(head), "\n", 3)
	b.write("version", []byte(lines[0]+"\n"))
	hook := b.path("health.d/10-app")
	must(b.t, durable.WriteFile(durable.OS, hook, []byte("#!/bin/sh\n"+lines[1]+"\n"), 0o755))
	if b.booted != nil {
		b.booted(slot)
	}
	if lines[1] == hangs { // until the watchdog bites
		return b.boot()
	}
	return slot
}

// digest is of a file's content.
func (b *box) digest(path string) (sum [sha256.Size]byte) {
	b.t.Helper()
	f, err := os.Open(path)
	must(b.t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	must(b.t, err)
	h.Sum(sum[:0])
	return sum
}

// condition is all of a box that a failed update must not change.
type condition struct {
	boot  board.Boot // the boot that runs, and what the bootloader will start next
	slots [2][sha256.Size]byte
}

func (b *box) condition() condition {
	b.t.Helper()
	driver, err := sim.Open(durable.OS, b.path("board"))
	must(b.t, err)
	boot, err := driver.Current(b.t.Context())
	must(b.t, err)
	return condition{boot, [2][sha256.Size]byte{b.digest(b.slot("a")), b.digest(b.slot("b"))}}
}

// rebootWanted is the reason of the restart that otad asked for, if it did.
func (b *box) rebootWanted() string {
	b.t.Helper()
	reason, err := b.machine.RebootRequested()
	must(b.t, err)
	return reason
}

// staged lists what is left in the staging directory.
func (b *box) staged() []string {
	b.t.Helper()
	names, err := filepath.Glob(b.path("staging/*"))
	must(b.t, err)
	return names
}

// hostFunc serves at a URL of its own.
func hostFunc(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}
