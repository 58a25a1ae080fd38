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

func packCommand() cli.Command {
	return cli.Command{
		Name:    "pack",
		Args:    "{--key K --cert C | --unsigned} {--from sw-description | [--model M [--revision R]...] --version V {--image NAME=FILE | --file PATH=FILE | --script FILE}... [--device [NAME:]copy1=DEV,copy2=DEV] [--compress zstd|zlib|xz|none] [--delta [NAME=]URL [--delta-chunks swupdate|MIN/AVERAGE/MAX | --delta-from FILE.zck]] [--no-reboot]} -o OUT.swu",
		Summary: "make a signed artifact", Run: pack,
	}
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// packOptions is the command line of pack.
type packOptions struct {
	key, cert, out, compress   string
	from                       string
	unsigned                   bool
	images, devices, revisions list
	files, scripts             list
	deltas                     list
	deltaChunks, deltaFrom     string
	manifest                   swu.Manifest
	chunkFiles                 []chunkFile // what prepareDelta made, for the summary
}

func pack(ctx context.Context, env cli.Env, args []string) error {
	o, err := parsePack(env, args)
	if err != nil {
		return err
	}
	var signer swu.Signer
	if !o.unsigned {
		if signer, err = loadSigner(o.key, o.cert); err != nil {
			return err
		}
	}
	if o.from != "" {
		return packFrom(ctx, env, o, signer)
	}
	dir, err := os.MkdirTemp(filepath.Dir(o.out), ".otactl-pack-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Scripts first: a box that streams must have them before it writes.
	small, err := prepareSmall(ctx, env, o)
	o.manifest.Payloads = small
	for _, p := range small {
		defer p.Content.(io.Closer).Close()
	}
	if err != nil {
		return err
	}
	for i, image := range o.images {
		p, err := prepare(ctx, env, o, image, filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return err
		}
		defer p.Content.(io.Closer).Close()
		o.manifest.Payloads = append(o.manifest.Payloads, p)
	}
	description, err := o.manifest.Describe()
	if err != nil {
		return fault(err)
	}
	if err := assemble(env, o, description, signer, o.manifest.Payloads); err != nil {
		return err
	}
	return summarize(env.Stdout, o)
}

// packFrom packs what an existing description names, taking the files as they
// lie beside it.
func packFrom(ctx context.Context, env cli.Env, o *packOptions, signer swu.Signer) error {
	text, err := os.ReadFile(o.from)
	if err != nil {
		return err
	}
	description, payloads, err := swu.Fill(text, func(filename string) (swu.Payload, error) {
		return asItIs(ctx, env, filepath.Join(filepath.Dir(o.from), filename))
	})
	for _, p := range payloads {
		defer p.Content.(io.Closer).Close()
	}
	if err != nil {
		return fault(err)
	}
	o.manifest.Payloads = payloads
	if err := assemble(env, o, description, signer, payloads); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "%s: %d payloads as %s says\n", o.out, len(payloads), o.from)
	return nil
}

// assemble signs and writes the artifact.
func assemble(env cli.Env, o *packOptions, description []byte, signer swu.Signer, payloads []swu.Payload) (err error) {
	var signature []byte
	if !o.unsigned {
		if signature, err = signer.Sign(description); err != nil {
			return err
		}
	}
	total := int64(0)
	for _, p := range payloads {
		total += p.Stored.SizeBytes
	}
	m := newMeter(env.Stderr, "writing", total)
	defer m.clear()
	return fault(writeWhole(o.out, func(w io.Writer) error {
		return swu.Assemble(io.MultiWriter(w, m), description, signature, payloads)
	}))
}

func fileBytes(f *os.File) int64 {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

func parsePack(env cli.Env, args []string) (*packOptions, error) {
	o := &packOptions{}
	fs := cli.Flags("pack")
	fs.StringVar(&o.key, "key", "", "PEM private key of the signer")
	fs.StringVar(&o.cert, "cert", "", "PEM certificate of the signer, intermediates behind it")
	fs.StringVar(&o.manifest.Model, "model", "", "the model it is for; without it, any")
	fs.Var(&o.revisions, "revision", "a hardware revision it is for, exact or #RE:pattern; repeat for more; without it, any")
	fs.StringVar(&o.manifest.Version, "version", "", "the version of the artifact")
	fs.StringVar(&o.manifest.Description, "description", "", "a free text")
	fs.Var(&o.images, "image", "NAME=FILE: an image and the name of the component; repeat for more")
	fs.Var(&o.devices, "device", "[NAME:]copy1=DEV,copy2=DEV: the image's targets; without it, the idle slot")
	fs.Var(&o.files, "file", "[DEVICE:]PATH=FILE: a file and where it goes; a PATH that ends in / unpacks the tar archive FILE there; repeat for more")
	fs.Var(&o.scripts, "script", "FILE: a script that is called with preinst, postinst and postfailure; repeat for more")
	fs.BoolVar(&o.manifest.NoReboot, "no-reboot", false, "the artifact asks for no restart")
	fs.StringVar(&o.compress, "compress", swu.KindZstd, "of images: zstd, zlib, xz or none")
	fs.Var(&o.deltas, "delta", "[NAME=]URL: the image comes as a delta; OUT-NAME.zck is written and goes to URL: http(s), or relative to the artifact; behind a URL that ends in / comes the file's name")
	fs.StringVar(&o.deltaChunks, "delta-chunks", "", "how a delta is cut: swupdate, which SWUpdate can install too, or MIN/AVERAGE/MAX bytes")
	fs.StringVar(&o.deltaFrom, "delta-from", "", "FILE.zck: a file of chunks that zck -u has made of the image")
	fs.BoolVar(&o.manifest.JSON, "json-description", false, "write the description in JSON")
	fs.StringVar(&o.from, "from", "", "a sw-description to complete with hashes and sizes; the files it names lie beside it, as they shall be stored")
	fs.BoolVar(&o.unsigned, "unsigned", false, "leave the signature to otactl sign")
	fs.StringVar(&o.out, "o", "", "the artifact to write")
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if _, known := suffixes[o.compress]; !known {
		return nil, cli.Usagef("--compress is %q, not zstd, zlib, xz or none", o.compress)
	}
	o.manifest.Revisions = o.revisions
	return o, nil
}

// check demands what is needed, and not what would have no effect.
func (o *packOptions) check() error {
	for _, option := range []struct {
		name, value  string
		needed, used bool
	}{
		{"--key", o.key, !o.unsigned, !o.unsigned},
		{"--cert", o.cert, !o.unsigned, !o.unsigned},
		{"--version", o.manifest.Version, o.from == "", o.from == ""},
		{"--image", o.images.String(), o.from == "" && len(o.files)+len(o.scripts) == 0, o.from == ""},
		{"--file", o.files.String(), false, o.from == ""},
		{"--script", o.scripts.String(), false, o.from == ""},
		{"--model", o.manifest.Model, false, o.from == ""},
		{"--revision", o.revisions.String(), false, o.from == ""},
		{"--device", o.devices.String(), false, o.from == ""},
		{"--delta", o.deltas.String(), false, o.from == ""},
		{"-o", o.out, true, true},
	} {
		switch {
		case option.needed && option.value == "":
			return cli.Usagef("%s is missing", option.name)
		case !option.used && option.value != "":
			return cli.Usagef("%s has no effect with --from or --unsigned", option.name)
		}
	}
	return o.checkDeltas()
}

// suffixes are what a compressed file's name ends in.
var suffixes = map[string]string{swu.KindZstd: ".zst", swu.KindZlib: ".gz", swu.KindXZ: ".xz", swu.KindNone: ""}

// prepare compresses one image to a file at temp and describes the result. What
// is not compressed is read where it is.
func prepare(ctx context.Context, env cli.Env, o *packOptions, image, temp string) (p swu.Payload, err error) {
	name, path, ok := strings.Cut(image, "=")
	if !ok || name == "" || path == "" {
		return p, cli.Usagef("--image is %q, not NAME=FILE", image)
	}
	p = swu.Payload{Filename: filepath.Base(path) + suffixes[o.compress], Name: name}
	if p.Devices, err = devicesOf(o, name); err != nil {
		return p, err
	}
	in, err := os.Open(path)
	if err != nil {
		return p, err
	}
	info, err := in.Stat()
	if err != nil {
		in.Close()
		return p, err
	}
	if at := o.deltaURL(name); at != "" {
		defer in.Close()
		p, err = prepareDelta(ctx, env, o, p, in, at, temp)
		if err != nil {
			return p, fmt.Errorf("cannot pack %q: %w", path, err)
		}
		return p, nil
	}
	m := newMeter(env.Stderr, "packing "+name, info.Size())
	defer m.clear()
	stored, to := in, io.Writer(io.Discard)
	if o.compress != swu.KindNone {
		defer in.Close()
		if stored, err = os.Create(temp); err != nil {
			return p, err
		}
		to = stored
	}
	p.Content = stored
	p.Stored, err = swu.Compress(to, io.TeeReader(cancelReader{ctx, in}, m), o.compress)
	if err == nil {
		_, err = stored.Seek(0, io.SeekStart)
	}
	if err != nil {
		return p, errors.Join(fmt.Errorf("cannot pack %q: %w", path, err), stored.Close())
	}
	return p, nil
}

// cancelReader stops when the context does.
type cancelReader struct {
	ctx context.Context
	r   io.Reader
}

func (c cancelReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// devicesOf finds the --device of an image: the one with its name, or the only
// one if there is only one image.
func devicesOf(o *packOptions, name string) (map[string]string, error) {
	for _, d := range o.devices {
		pairs, mine := strings.CutPrefix(d, name+":")
		if !mine && (len(o.images) > 1 || strings.Contains(strings.SplitN(d, "=", 2)[0], ":")) {
			continue
		}
		devices := map[string]string{}
		for _, pair := range strings.Split(pairs, ",") {
			mode, device, ok := strings.Cut(pair, "=")
			if !ok || device == "" {
				return nil, cli.Usagef("--device is %q, not [NAME:]copy1=DEV,copy2=DEV", d)
			}
			devices[mode] = device
		}
		return devices, nil
	}
	if len(o.devices) > 0 && len(o.images) == 1 {
		return nil, cli.Usagef("--device names no image that is packed")
	}
	return nil, nil
}

// summarize says what was made.
func summarize(w io.Writer, o *packOptions) error {
	info, err := os.Stat(o.out)
	if err != nil {
		return err
	}
	model := o.manifest.Model
	if model == "" {
		model = "any model"
	}
	fmt.Fprintf(w, "%s: version %s for %s, %s\n", o.out, o.manifest.Version, model, cli.SizeText(info.Size()))
	for _, p := range o.manifest.Payloads {
		fmt.Fprintf(w, "  %s  %s, %s unpacked\n", p.Filename, cli.SizeText(p.Stored.SizeBytes), cli.SizeText(p.Stored.PlainBytes))
	}
	for _, f := range o.chunkFiles {
		fmt.Fprintf(w, "%s: %s in %d chunks; serve it as %s\n", f.name, cli.SizeText(int64(len(f.header))+f.body), f.chunks, f.url)
	}
	return nil
}
