// Package zck reads and makes zchunk files: an image cut into chunks, and an
// index that says of each chunk where it lies and what its digest is. With the
// index, a box that has most of the chunks already fetches only the others.
//
// A file is a header, which is the index, and a body, which is the chunks one
// behind the other, each packed for itself. Where the cuts are depends on the
// content ([Chunker]), so what moved inside an image is found again.
//
// Trust. A header is read as hostile: bounded, every length and sum checked,
// what is not known refused by name. Its own digest finds accidents, never
// attacks; that it is the right header must be known from elsewhere, such as
// the signed description of an artifact. From then on every chunk is bound by
// the digest of its plain bytes, so bodies and sources may come from anyone:
// [Decoder.Decode] and [Header.Check] hold each chunk against it.
//
// Memory. A header is kept as it came, with a mark every few chunks: about
// 40 bytes a chunk as otactl has [Pack] write it, 70 as zck -u does. No
// chunk is larger than [MaxChunkBytes]. The package has no clock, no disk and
// no network.
//
// The format is zchunk's own (zchunk_format.txt), as version 1.2 writes it.
package zck
