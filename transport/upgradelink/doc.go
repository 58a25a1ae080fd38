// Package upgradelink asks an UpgradeLink server whether there is something
// newer for this box, looks versions up, and reports what became of them.
//
// The client knows the routes of the url, configuration, file, apk, lnx and
// win applications (upgrade and version) and app/report. Every call is one
// signed POST. What comes back is one of
//
//   - an offer or a version, checked for sense;
//   - [ErrNoOffer]: the server has nothing for this box now;
//   - an [ota.Fault] with its class, a stable code and a hint, that wraps an
//     [APIError] when the server said why.
//
// The clock of the box is not trusted: calls are stamped with the server's
// time as its Date headers teach it, so a box that starts in 1970 works.
//
// The server is not trusted with memory: an answer is bounded. Neither is it
// trusted with the box: an offer says where an artifact may be found, nothing
// more; the artifact's own signature decides. A request carries no secret
// but a hash over it; the secret key is in no error and in no log line.
//
// Sources: the vendor's API pages (https://www.toolsetlink.com/upgrade/) and
// recorded answers of the open-source server, in testdata. Where the two
// differ, both are understood; docs/upgradelink.md lists the differences.
package upgradelink
