package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/pelletier/go-toml/v2"

	"otad/agent/config"
	"otad/board/sim"
	"otad/ota/durable"
)

// Factory is what a new box leaves the factory with.
type Factory struct {
	Model, Device, Revision string
	Image                   string // the squashfs in slot a
	SlotBytes               int64  // of each of the slots a and b
	TrustedCA               []byte // PEM
	Access                  Access
	Policy                  config.Policy
}

// Access is how a box reaches its servers.
type Access struct {
	URL       string // UpgradeLink
	AccessKey string
	SecretKey string
	URLKey    string   // the application that carries the firmware
	Brokers   []string // MQTT
	Prefix    string   // of the topics
}

// Create makes a box in dir, which holds none yet, and opens it.
func Create(dir string, f Factory) (*Box, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot make box %q: %w", dir, err)
	}
	if err := sim.Create(durable.OS, dir, f.SlotBytes, "a", "b"); err != nil {
		return nil, err
	}
	box, err := Open(dir)
	if err != nil {
		return nil, err
	}
	if err := box.flash("a", f.Image); err != nil {
		return nil, err
	}
	return box, box.configure(f)
}

// flash writes an image into a slot.
func (b *Box) flash(slot, image string) error {
	path, err := b.SlotPath(slot)
	if err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("cannot flash %q into slot %q: %w", image, slot, err) }
	from, err := os.Open(image)
	if err != nil {
		return fail(err)
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fail(err)
	}
	info, err := to.Stat()
	if err != nil {
		return fail(errors.Join(err, to.Close()))
	}
	n, err := io.Copy(to, io.LimitReader(from, info.Size()+1))
	if n > info.Size() {
		err = fmt.Errorf("it is larger than %d bytes", info.Size())
	}
	if err := errors.Join(err, to.Close()); err != nil {
		return fail(err)
	}
	return nil
}

// configure writes otad's configuration and the files that it names. It goes
// through otad's own type, so the lab cannot fall behind it.
func (b *Box) configure(f Factory) error {
	file := func(name string) string { return filepath.Join(b.dir, name) }
	c := config.Default()
	c.Device = config.Device{Model: f.Model, Key: f.Device, Revision: f.Revision}
	c.Server.URL, c.Server.AccessKey, c.Server.SecretKeyFile = f.Access.URL, f.Access.AccessKey, file("secret")
	c.Firmware.URLKey = f.Access.URLKey
	// Version and health hooks come from the image that runs.
	c.Firmware.VersionFile = filepath.Join(b.Root(), "etc/otad/version")
	c.Health.Hooks = filepath.Join(b.Root(), "usr/lib/otad/health.d")
	c.Trust.CA = []string{file("ca.pem")}
	c.MQTT.Brokers, c.MQTT.Prefix = f.Access.Brokers, f.Access.Prefix
	c.Policy = f.Policy
	c.Download.RetryFirst = config.Duration(time.Second)
	c.Board.Driver, c.Board.Dir = "sim", b.dir
	c.Control.Socket = b.Socket()
	c.State.Dir = file("data")
	b.channels(&c)
	text, err := toml.Marshal(c)
	if err == nil {
		err = errors.Join(
			os.Mkdir(file("data"), 0o755),
			os.WriteFile(file("ca.pem"), f.TrustedCA, 0o644),
			os.WriteFile(file("secret"), []byte(f.Access.SecretKey+"\n"), 0o600),
			os.WriteFile(b.ConfigFile(), text, 0o644),
		)
	}
	if err != nil {
		return fmt.Errorf("cannot configure box %q: %w", b.dir, err)
	}
	return nil
}
