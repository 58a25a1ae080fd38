// Package swu reads, checks and writes SWUpdate's artifact, the .swu file: a
// cpio archive whose first entry, sw-description, says what to install where,
// whose second entry signs the first, and whose other entries are the payloads.
//
// Trust. Nothing of a description is looked at before its signature has been
// verified over its exact bytes ([Archive.Description]); each payload is bound
// by the sha256 that the description gives for it ([Plan.Verify]). Before that
// the package reads only the cpio headers and the two first entries, both of
// bounded size, and treats every byte as hostile. The cpio check sums find
// accidents, never attacks.
//
// Memory. Payloads are streamed; the table of contents, the description and
// the signature are capped, so opening and verifying takes the same few MiB for
// any artifact.
//
// The package has no clock, no disk and no network: callers hand in readers
// and the time at which certificates are judged.
//
// The format follows SWUpdate's documentation (swupdate.rst, sw-description.rst,
// signed_images.rst) and is described for people in docs/artifact.md. What is
// not done is refused with its name and line, never skipped.
package swu
