package lab

import (
	"errors"
	"fmt"
	"os"

	"otad/ota/swu/swutest"
)

// Pack makes the signed artifact name for the boxes of a model from an image.
func Pack(a swutest.Authority, name, image, model, version string) (err error) {
	fail := func(err error) error { return fmt.Errorf("cannot pack %q: %w", name, err) }
	content, err := os.Open(image)
	if err != nil {
		return fail(err)
	}
	defer content.Close()
	out, err := os.Create(name)
	if err != nil {
		return fail(err)
	}
	if err := errors.Join(a.Pack(out, model, version, content), out.Close()); err != nil {
		return fail(err)
	}
	return nil
}

// Tamper changes the artifact as an attacker would who cannot sign: it swaps
// two bytes in its middle, so that even cpio's check sum still fits.
func Tamper(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("cannot tamper with %q: %w", name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cannot tamper with %q: %w", name, err)
	}
	var pair [2]byte
	for at := info.Size() / 2; ; at++ {
		if _, err := f.ReadAt(pair[:], at); err != nil {
			return fmt.Errorf("cannot tamper with %q: %w", name, err)
		}
		if pair[0] != pair[1] {
			pair[0], pair[1] = pair[1], pair[0]
			_, err := f.WriteAt(pair[:], at)
			return err
		}
	}
}
