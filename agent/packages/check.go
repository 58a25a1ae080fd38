package packages

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"

	"otad/ota"
	"otad/ota/durable"
	"otad/ota/swu"
)

// check checks the staged file and returns what to hand to the installer and,
// for a .swu, its signed version. What the server told of size and hashes is
// checked in any case; what decides is said by the package's trust.
func (c *Channel) check(ctx context.Context, work ota.PackageWork) (file, signed string, err error) {
	f, err := c.FS.OpenFile(c.place(work), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", ota.NewTransient(ota.CodeFirmwareNotFound, fmt.Errorf("cannot open package %q: %w", c.Name, err))
	}
	if err != nil {
		return "", "", ota.NewTransient(ota.CodeBoard, fmt.Errorf("cannot open package %q: %w", c.Name, err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = c.checkHashes(f, info.Size(), work)
	}
	if err != nil {
		return "", "", err
	}
	switch c.Trust {
	case TrustHashOnly:
	case TrustCMS:
		err = c.checkSignature(ctx, f, info.Size(), work)
	case TrustSWU:
		return c.unpack(ctx, f, info.Size())
	default:
		err = ota.NewPermanent(ota.CodePackageUnchecked, fmt.Errorf("cannot check package %q: trust %q is not known", c.Name, c.Trust))
	}
	if err != nil {
		return "", "", err
	}
	return c.place(work), "", nil
}

// checkHashes compares with what the server told.
func (c *Channel) checkHashes(f io.ReaderAt, size int64, work ota.PackageWork) error {
	wrong := func(what string, got, want any) error {
		return ota.NewPermanent(ota.CodeArtifactHash, fmt.Errorf("cannot use package %q: its %s is %v, the server says %v", c.Name, what, got, want))
	}
	if work.SizeBytes != 0 && work.SizeBytes != size {
		return wrong("size", size, work.SizeBytes)
	}
	if c.Trust == TrustHashOnly && work.MD5 == "" && work.SHA256 == "" {
		return ota.NewPermanent(ota.CodePackageUnchecked, fmt.Errorf("cannot use package %q: the server tells no hash of it", c.Name))
	}
	if work.MD5 == "" && work.SHA256 == "" {
		return nil
	}
	weak, strong := md5.New(), sha256.New()
	if _, err := io.Copy(io.MultiWriter(weak, strong), io.NewSectionReader(f, 0, size)); err != nil {
		return ota.NewTransient(ota.CodeBoard, fmt.Errorf("cannot read package %q: %w", c.Name, err))
	}
	if got := hex.EncodeToString(weak.Sum(nil)); work.MD5 != "" && got != work.MD5 {
		return wrong("md5", got, work.MD5)
	}
	if got := hex.EncodeToString(strong.Sum(nil)); work.SHA256 != "" && got != work.SHA256 {
		return wrong("sha256", got, work.SHA256)
	}
	return nil
}

// checkSignature fetches the detached signature and verifies it.
func (c *Channel) checkSignature(ctx context.Context, f io.ReaderAt, size int64, work ota.PackageWork) error {
	address := c.Signature
	if address == "" {
		var err error
		if address, err = beside(work.URL); err != nil {
			return ota.NewPermanent(ota.CodePackageUnchecked, err)
		}
	}
	where := c.staged(".signature")
	if err := durable.Remove(c.FS, where); err != nil { // it is never resumed
		return ota.NewTransient(ota.CodeBoard, err)
	}
	err := c.Fetcher.Fetch(ctx, Fetch{URL: address, Path: where, MaxBytes: swu.MaxSignatureBytes,
		Save: func(ota.Checkpoint) error { return nil }, Progress: func(int64, int64) {}})
	if fault := ota.FaultOf(err); fault != nil {
		if fault.Code == ota.CodeFirmwareMissing {
			return ota.NewPermanent(ota.CodePackageUnchecked, fmt.Errorf("cannot check package %q: there is no signature: %w", c.Name, err)).
				WithHint("put the signature beside the package, under its URL with \".sig\" behind it, or set package.signature")
		}
		return err
	}
	signature, err := durable.ReadFile(c.FS, where, swu.MaxSignatureBytes)
	if err != nil {
		return ota.NewTransient(ota.CodeBoard, err)
	}
	trust, err := c.Anchors()
	if err != nil {
		return err
	}
	signer, err := trust.VerifyDetached(f, size, signature, c.Now())
	if err != nil {
		return c.artifactFault(err)
	}
	c.Log.Info("package is signed", "package", c.Name, "signer", signer.Subject.CommonName)
	return nil
}

// beside is the address of the signature: the path with ".sig" behind it; what
// follows the path, the query of a signed URL, stays.
func beside(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("cannot find the signature: %w", err)
	}
	u.Path, u.RawPath = u.Path+".sig", ""
	return u.String(), nil
}

// unpack verifies a .swu and takes the one payload out of it. The signed
// description must name this package: what was signed as something else, the
// firmware above all, is not for its installer.
func (c *Channel) unpack(ctx context.Context, f io.ReaderAt, size int64) (file, signed string, err error) {
	archive, err := swu.Open(f, size)
	if err != nil {
		return "", "", c.artifactFault(err)
	}
	trust, err := c.Anchors()
	if err != nil {
		return "", "", err
	}
	description, _, err := archive.Description(trust, c.Now())
	if err != nil {
		return "", "", c.artifactFault(err)
	}
	plan, err := description.Select(c.Box)
	if err != nil {
		return "", "", c.artifactFault(err)
	}
	payloads := plan.Payloads()
	if len(payloads) != 1 || len(plan.Scripts) > 0 || len(plan.BootEnv) > 0 || payloads[0].Name != c.Name {
		return "", "", ota.NewPermanent(ota.CodeArtifactUnsupported,
			fmt.Errorf("cannot use package %q: the artifact is not of one image or file with this name", c.Name)).
			WithHint(fmt.Sprintf("otactl pack --image %s=FILE …", c.Name))
	}
	if floor := c.rec().Floor; floor != "" && swu.CompareVersions(plan.Version, floor) < 0 {
		return "", "", ota.NewPermanent(ota.CodeBelowFloor, fmt.Errorf("cannot use package %q: its version %q is below the floor %q", c.Name, plan.Version, floor))
	}
	if err := plan.Verify(ctx, archive, nil); err != nil {
		return "", "", c.artifactFault(err)
	}
	image := payloads[0]
	entry, _ := archive.Entry(image.Filename)
	plain, err := image.Decompress(archive.Payload(entry))
	if err != nil {
		return "", "", c.artifactFault(err)
	}
	defer plain.Close()
	name := strings.TrimSuffix(image.Filename, ".zst")
	file, sum, err := c.copyOut(plain, extension(name))
	if err == nil && image.DecompressedSHA256 != "" && sum != image.DecompressedSHA256 {
		err = ota.NewPermanent(ota.CodeArtifactHash, fmt.Errorf("cannot use package %q: what was unpacked is not what was signed", c.Name))
	}
	return file, plan.Version, err
}

// copyOut writes a file for the installer and returns its name and sha256. It
// need not be durable: it is made anew after a power cut.
func (c *Channel) copyOut(r io.Reader, ext string) (file, sum string, err error) {
	file = c.staged(".file" + ext)
	out, err := c.FS.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return "", "", ota.NewTransient(ota.CodeBoard, fmt.Errorf("cannot unpack package %q: %w", c.Name, err))
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), r)
	if err = errors.Join(err, out.Close()); err != nil {
		return "", "", c.artifactFault(fmt.Errorf("cannot unpack package %q: %w", c.Name, err))
	}
	return file, hex.EncodeToString(h.Sum(nil)), nil
}

// artifactFault classes what the format says; all else is of the medium.
func (c *Channel) artifactFault(err error) error {
	var e *swu.Error
	if errors.As(err, &e) {
		return ota.NewPermanent(ota.Code(e.Kind), fmt.Errorf("cannot use package %q: %w", c.Name, err)).WithHint(e.Hint)
	}
	return ota.NewTransient(ota.CodeBoard, err)
}

// place is where the download is staged: with the extension that the file has on
// the server, for installers go by it; but a .swu is unpacked first.
func (c *Channel) place(work ota.PackageWork) string {
	if c.Trust == TrustSWU {
		return c.staged("")
	}
	return c.staged(extension(work.URL))
}

var plainExtension = regexp.MustCompile(`^\.[A-Za-z0-9]{1,8}$`)

// extension is that of an address or a name; "" for none, for an odd one, and
// for ".swu", which the agent would take for its own.
func extension(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	ext := path.Ext(u.Path)
	if !plainExtension.MatchString(ext) || strings.Contains(ext, "swu") {
		return ""
	}
	return ext
}

// highest is the higher of two signed versions.
func highest(floor string, signed []string) string {
	for _, v := range signed {
		if v != "" && (floor == "" || swu.CompareVersions(v, floor) > 0) {
			floor = v
		}
	}
	return floor
}
