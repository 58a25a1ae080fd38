package ota

// Code is the stable name of a condition, for machines: it appears in events,
// in JSON answers and in docs/errors.md. Codes are only ever added.
type Code string

const (
	// The server (transport/upgradelink).
	CodeServerUnreachable Code = "server-unreachable" // no HTTP answer: DNS, TCP, TLS, time-out
	CodeServerTrouble     Code = "server-trouble"     // 5xx, empty or HTML body, answer too long or not the API's
	CodeServerRefused     Code = "server-refused"     // 400xxx: the request was understood and refused
	CodeServerClock       Code = "server-clock"       // 401001 for the clock, and the server gave no usable Date
	CodeAccessKey         Code = "access-key"         // 401001: access key unknown or disabled
	CodeSecret            Code = "secret"             // 401002: signature wrong, so the secret key is wrong
	CodeAppUnknown        Code = "app-unknown"        // 404001: the server does not know this application key or version
	CodeRateLimited       Code = "rate-limited"       // 429001
	CodeNotSupported      Code = "not-supported"      // the server has no such route
	CodeOfferBad          Code = "offer-bad"          // the offer itself makes no sense: empty, relative or non-http URL, version not newer

	// The download (transport/download).
	CodeFirmwareMissing  Code = "firmware-missing"   // 404, 410, 403 for the artifact's URL
	CodeFirmwareNotFound Code = "firmware-no-file"   // a local artifact that is not there
	CodeFirmwareHTML     Code = "firmware-html"      // a web page where the artifact should be: captive portal, error page
	CodeFirmwareChanged  Code = "firmware-changed"   // the file changed while it was fetched, again and again
	CodeFirmwareTooLarge Code = "firmware-too-large" // larger than the configured or sensible bound
	CodeFirmwareNoRanges Code = "firmware-no-ranges" // the server of a delta has no ranges, and the whole is too dear
	CodeDownloadHTTP     Code = "download-http"      // an HTTP answer that is no success (5xx, 4xx other than the above)
	CodeDownloadNetwork  Code = "download-network"   // connection refused, reset, closed early, TLS trouble
	CodeDownloadStalled  Code = "download-stalled"   // slower than the low-speed limit for too long
	CodeNoSpace          Code = "no-space"           // the staging directory cannot hold the artifact

	// The artifact (ota/swu, ota/install).
	CodeArtifactDamaged     Code = "artifact-damaged"     // not a whole .swu: truncated, bad check sum, malformed
	CodeArtifactUnsupported Code = "artifact-unsupported" // well-formed, but asks for something otad does not do
	CodeArtifactSignature   Code = "artifact-signature"   // unsigned, or the signature does not match the description
	CodeArtifactUntrusted   Code = "artifact-untrusted"   // signed by a key that this box does not trust, or out of its time
	CodeArtifactHash        Code = "artifact-hash"        // a payload differs from the hash in the signed description
	CodeWrongHardware       Code = "wrong-hardware"       // for another model or revision
	CodeBelowFloor          Code = "below-floor"          // older than the lowest version that may be installed
	CodeImageTooLarge       Code = "image-too-large"      // does not fit into the slot
	CodeTargetForbidden     Code = "target-forbidden"     // names the active slot or a device that the board did not declare
	CodeReadback            Code = "readback"             // the slot, read back from the medium, differs from what was written

	// Configuration and side packages (agent/configuration, agent/packages).
	CodeConfigurationBad    Code = "configuration-bad"    // the content is no JSON object, too long, or lost
	CodeConfigurationSchema Code = "configuration-schema" // the content does not fit the schema
	CodeConfigurationTuning Code = "configuration-tuning" // the content asks otad for what a configuration may not
	CodeConfigurationHook   Code = "configuration-hook"   // the hook did not take the content
	CodePackageHook         Code = "package-hook"         // the installer of a side package failed
	CodePackageUnchecked    Code = "package-unchecked"    // nothing to check a side package by: no hash, no signature

	// The box (board/*, ota/journal, agent).
	CodeBoard           Code = "board"            // a hardware act failed
	CodeBootEnvironment Code = "boot-environment" // the boot environment cannot be read or written
	CodeUnhealthy       Code = "unhealthy"        // the new system failed its health check
	CodeNeverCameUp     Code = "never-came-up"    // the bootloader went back to the old system by itself
	CodeVersionMismatch Code = "version-mismatch" // the new system says that it is another version than the one offered
	CodeAttempts        Code = "attempts"         // too many attempts or too many phase changes for one update
	CodeJournal         Code = "journal"          // the journal cannot be read or written
	CodeJournalDamaged  Code = "journal-damaged"  // the journal was damaged, kept aside and rebuilt
	CodeConfig          Code = "config"           // the configuration is wrong
	CodeLocked          Code = "locked"           // another otad holds the lock
	CodeUsage           Code = "usage"            // a command, its arguments or its version are not known
	CodeExpired         Code = "expired"          // a command arrived after its expiry
	CodeBusy            Code = "busy"             // another update is under way
	CodeNotNow          Code = "not-now"          // the policy says: later
	CodeNothing         Code = "nothing"          // nothing to do: no offer, nothing to cancel
	CodeRejected        Code = "rejected"         // a person gave the new system up
	CodeNoWayBack       Code = "no-way-back"      // no other slot holds a system that is known to be good
	CodeBadOffer        Code = "bad-offer"        // this offer failed before and is remembered as bad
	CodeDeclined        Code = "declined"         // the viewer or operator said no
	CodeDeferLimit      Code = "defer-limit"      // the viewer may not put the update off again, or not that far
	CodeNoAnswer        Code = "no-answer"        // the viewer did not answer in time; the next offer is asked about anew
	CodeForced          Code = "forced"           // a forced update is not put off, declined or cancelled on this box
	CodeCancelled       Code = "cancelled"        // a person cancelled the update
	CodeScript          Code = "script"           // a script of the artifact failed or took too long
	CodeLine            Code = "line"             // the serial line, or the other end of it, does not work
	CodeLogin           Code = "login"            // a login is needed, wrong or locked
	CodeInternal        Code = "internal"         // nobody classed it: a defect in otad
)
