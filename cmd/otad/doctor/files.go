package doctor

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"otad/agent/config"
	"otad/ota/durable"
	"otad/ota/swu"
)

const (
	soon       = 30 * 24 * time.Hour       // a certificate that ends so soon is worth a word
	maxAhead   = 20 * 365 * 24 * time.Hour // no clock is right that is so far after the build
	littleRoom = 16 << 20                  // free bytes below which little can be done
)

// clock holds the local clock against what it cannot be before.
func (e *examination) clock() {
	now := e.Now.UTC().Format(time.RFC3339)
	switch {
	case e.Now.Before(e.Built):
		e.warn("clock", "", "nothing, on a box without a clock: otad goes by its build, the last good time and the server's", "it says %s, before this otad was built", now)
	case !e.Built.IsZero() && e.Now.After(e.Built.Add(maxAhead)):
		e.fail("clock", "", "set the clock: every certificate seems to have ended", "it says %s, which cannot be", now)
	default:
		e.ok("clock", "", "%s", now)
	}
}

// trust reads the anchors and looks at their time.
func (e *examination) trust() {
	files := slices.Clone(e.Config.Trust.CA)
	if dir := e.Config.Trust.Dir; dir != "" {
		brought, _ := filepath.Glob(filepath.Join(dir, "*.pem")) // the pattern is good
		files = append(files, brought...)
	}
	var bundles [][]byte
	ends := 0
	for _, file := range files {
		bundle, err := config.ReadFiles(file)
		if err == nil {
			_, err = swu.ParseTrust(bundle...)
		}
		if err != nil {
			e.fail("trust", file, "put the right file there: nothing can be installed until all of trust.ca can be read", "%v", err)
			continue
		}
		bundles = append(bundles, bundle...)
		ends += e.certificates(file, bundle[0])
	}
	if len(bundles) > 0 && ends == 0 {
		e.fail("trust", "", "bring a new anchor in before the old one ends: trust.dir, or a new image", "every anchor has ended: nothing new can be installed")
	}
	e.guarded("trust", 0o022, files...)
}

// certificates looks at the time of each certificate of a bundle and returns how
// many anchors in it are good now.
func (e *examination) certificates(file string, bundle []byte) (good int) {
	now := e.Now
	if last := e.glimpse.Box.LastGood; last.After(now) {
		now = last
	}
	if e.Built.After(now) {
		now = e.Built
	}
	for block, rest := pem.Decode(bytes.TrimSpace(bundle)); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			if block.Type == "PUBLIC KEY" {
				good++ // it has no end
				e.ok("trust", file, "a public key")
			}
			continue
		}
		name, end := c.Subject.CommonName, c.NotAfter.UTC().Format(time.DateOnly)
		switch {
		case now.After(c.NotAfter):
			e.warn("trust", file, "replace it", "%q ended on %s", name, end)
			continue
		case now.Before(c.NotBefore):
			e.warn("trust", file, "look at the clock", "%q begins on %s", name, c.NotBefore.UTC().Format(time.DateOnly))
		case now.Add(soon).After(c.NotAfter):
			e.warn("trust", file, "replace it before that", "%q ends on %s", name, end)
		default:
			e.ok("trust", file, "%q, until %s", name, end)
		}
		good++
	}
	return good
}

// keys are the files that nobody else may read.
func (e *examination) keys() {
	c := e.Config
	secrets := []string{c.Server.SecretKeyFile, c.MQTT.PasswordFile, c.MQTT.Key, c.Console.PINFile, c.Console.KeyFile, c.Install.KeyFile}
	e.guarded("key-file", 0o077, slices.DeleteFunc(secrets, func(s string) bool { return s == "" })...)
}

// guarded checks that others have none of the rights in forbidden.
func (e *examination) guarded(check string, forbidden fs.FileMode, files ...string) {
	for _, file := range files {
		info, err := os.Stat(file)
		switch {
		case err != nil && check == "trust": // told of already
		case err != nil:
			e.fail(check, file, "put the file there, or mend the settings", "%v", err)
		case info.Mode()&0o022 != 0:
			e.fail(check, file, "chmod go-w it", "others can write to it (mode %04o)", info.Mode().Perm())
		case info.Mode()&forbidden != 0:
			e.warn(check, file, "chmod 600 it", "others can read it (mode %04o)", info.Mode().Perm())
		case check != "trust":
			e.ok(check, file, "mode %04o", info.Mode().Perm())
		}
	}
}

// directories must be there, or be possible, and take writes.
func (e *examination) directories() {
	need := int64(0)
	for _, bad := range e.glimpse.Box.Bad {
		need = max(need, bad.NeedBytes)
	}
	e.directory("state", e.Config.State.Dir, 0)
	e.directory("staging", e.Config.Download.Dir, need)
}

func (e *examination) directory(check, dir string, need int64) {
	at := dir
	info, err := os.Stat(at)
	for errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) { // otad makes it
		at = filepath.Dir(at)
		info, err = os.Stat(at)
	}
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "use", Path: at, Err: syscall.ENOTDIR}
	}
	if err == nil {
		if err = syscall.Access(at, 2); err != nil { // W_OK; it sees read-only file systems, too
			err = &fs.PathError{Op: "write to", Path: at, Err: err}
		}
	}
	free := int64(0)
	if err == nil {
		free, err = durable.FreeBytes(at)
	}
	switch {
	case err != nil:
		e.fail(check, dir, "mount it for writing, or name another one in the settings", "%v", err)
	case need > free:
		e.warn(check, dir, "make room: the update is tried again when there is", "%d MiB are free, the offer needs %d", free>>20, need>>20)
	case free < littleRoom:
		e.warn(check, dir, "make room", "only %d KiB are free", free>>10)
	default:
		e.ok(check, dir, "%d MiB are free", free>>20)
	}
}

// healthHooks finds those that would be passed over, or that others can change.
func (e *examination) healthHooks() {
	dir := e.Config.Health.Hooks
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		e.warn("health", dir, "put a check of the application there: without one a system counts as healthy that merely starts otad", "there are no health hooks")
		return
	}
	if err != nil {
		e.fail("health", dir, "make the directory readable", "%v", err)
		return
	}
	var names []string
	for _, entry := range entries {
		info, err := entry.Info()
		switch {
		case err != nil || !info.Mode().IsRegular():
		case info.Mode()&0o111 == 0:
			e.warn("health", entry.Name(), "chmod +x it, or remove it", "it is not executable and is passed over")
		case info.Mode()&0o002 != 0:
			e.fail("health", entry.Name(), "chmod o-w it", "everybody can change it, and it runs as root")
		default:
			names = append(names, entry.Name())
		}
	}
	e.ok("health", dir, "%d hooks: %s", len(names), strings.Join(names, " "))
}
