package swu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// Verify reads every payload that the plan uses, once, and holds it against
// the archive's check sum and the sha256 and size of the description. progress,
// which may be nil, is called after each piece with what is done and what there
// is to do. Memory is one buffer. Errors: Damaged, BadHash, ctx.Err(), or those
// of the archive's reader.
func (p *Plan) Verify(ctx context.Context, a *Archive, progress func(doneBytes, totalBytes int64)) error {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	images, total, err := p.payloads(a)
	if err != nil {
		return err
	}
	var done int64
	buf := make([]byte, 128<<10)
	for _, image := range images {
		e, _ := a.Entry(image.Filename)
		r := a.Payload(e)
		hash, sum := sha256.New(), uint32(0)
		for read := int64(0); read < e.SizeBytes; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := r.Read(buf)
			hash.Write(buf[:n])
			sum += byteSum(buf[:n])
			read += int64(n)
			done += int64(n)
			progress(done, total)
			if err != nil && read < e.SizeBytes {
				return truncated(e.Name, err)
			}
		}
		if err := compareSum(e, sum); err != nil {
			return err
		}
		if got := hex.EncodeToString(hash.Sum(nil)); got != image.SHA256 {
			return archiveError(BadHash, e.Name, "its sha256 is %s, the signed description says %s", got, image.SHA256)
		}
	}
	return nil
}

// payloads lists one image for each payload, after checking that the payload is
// there, has the size it should, and that images which share it agree on it.
func (p *Plan) payloads(a *Archive) (images []Image, totalBytes int64, err error) {
	for _, image := range p.Payloads() {
		e, ok := a.Entry(image.Filename)
		if !ok {
			return nil, 0, lineError(Damaged, image.Line, "the archive has no entry %q", image.Filename)
		}
		if image.SizeBytes >= 0 && image.SizeBytes != e.SizeBytes {
			return nil, 0, lineError(BadHash, image.Line, "%q has %d bytes, the signed description says %d", e.Name, e.SizeBytes, image.SizeBytes)
		}
		seen := slices.IndexFunc(images, func(i Image) bool { return i.Filename == image.Filename })
		if seen < 0 {
			images = append(images, image)
			totalBytes += e.SizeBytes
		} else if images[seen].SHA256 != image.SHA256 {
			return nil, 0, lineError(BadHash, image.Line, "%q has another sha256 than on line %d", e.Name, images[seen].Line)
		}
	}
	return images, totalBytes, nil
}

// VerifyAll does for every payload of every section, for whatever box, what
// [Plan.Verify] does for those of one plan. It does not judge whether the
// sections are supported.
func (d *Description) VerifyAll(ctx context.Context, a *Archive, progress func(doneBytes, totalBytes int64)) error {
	all := Plan{}
	var err error
	walkSections(d.root.child(rootName), nil, func(_ []string, section *node) {
		for _, e := range d.elementsOf(section) {
			if e.child("filename") == nil || err != nil {
				continue
			}
			image := Image{Line: e.line}
			if image.Filename, err = e.stringOf("filename"); err != nil {
				continue
			}
			if image.SizeBytes, err = e.sizeOf("size"); err != nil {
				continue
			}
			if err = image.readHash(e); err == nil {
				all.Images = append(all.Images, image)
			}
		}
	})
	if err != nil {
		return err
	}
	return all.Verify(ctx, a, progress)
}
