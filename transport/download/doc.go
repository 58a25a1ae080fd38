// Package download brings one file into the staging directory: one attempt
// per [Fetcher.Fetch], resumable across a lost connection, a kill and a power
// cut. Retry with backoff, and what to do about a fault, belong to the caller.
//
// # Model
//
// grab (github.com/cavaliergopher/grab/v3) copies: it opens the file, appends,
// measures and stops on cancellation. It resumes by the size of the local file
// alone, accepts any 2xx as a continuation, does not look at Content-Range and
// never syncs. So it is handed two things that make it safe, both of them one
// type, attempt:
//
//   - An HTTP client. grab asks HEAD before it resumes; at that moment the
//     client performs the real conversation (one GET with Range and If-Range),
//     judges the answer, shortens the file to the offset at which the answer
//     begins, and only then answers the HEAD from what it knows. grab looks at
//     the file again, asks GET, and gets the answer that is already open. So a
//     200 in place of a continuation starts at zero and is never appended, and
//     a HEAD never costs a request.
//   - A rate limiter. grab calls it after every stored buffer, in the copying
//     goroutine. That is where write-back is paced, where checkpoints are made
//     and where progress is told, besides limiting the rate.
//
// # Crash assumptions
//
// A [Checkpoint] is saved only after the prefix that it vouches for was
// fsynced, and it is withdrawn (saved as zero) before that prefix is cut off.
// Whatever lies behind SyncedBytes is not trusted: after a power cut it may be
// zeros. The work is done in Request.Path itself; whether that file is whole
// is said by the checkpoint (SyncedBytes == TotalBytes), never by its size.
//
// # Trust
//
// The bytes are not trusted at all; the artifact is signed and hashed, and its
// reader checks that. The guards here are about not wasting a download and not
// filling a disk. A resume needs a strong validator: a strong ETag, or a
// Last-Modified that was at least a minute old when it was sent (RFC 9110,
// section 8.8.2.2, asks for a second; clocks of replicas differ by more). With
// neither, nothing shows that the rest belongs to the prefix; the splice would
// be found by the hash only after the whole download, so it starts afresh.
//
// Besides, a file can be read without being stored: as a whole ([Stream]), or
// some pieces of it ([Ranges]), with the same rules for answers.
//
// Only "the file is not there" (403, 404, 410), a URL that makes no sense, a
// file that is too large and one that keeps changing are permanent for the
// offer. Everything else may be the line, a proxy or a captive portal, and is
// transient. A URL may carry a password or a signed query: errors and logs
// show scheme, host and path only.
package download
