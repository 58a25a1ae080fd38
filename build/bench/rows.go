package main

// row is one installer doing one job. Its commands are for the shell, with the
// words of [place.words] in braces.
type row struct {
	name    string
	mode    string // "local": from a file, "stream": from the web server
	image   string // what slot B holds afterwards: "sqfs" or "ext4" of v2
	from    string // the release in slot A, "" for v1
	to      string // the release to install, "" for v2
	art     string // the artifact, {file} and {url}
	floor   string // of which payload: "sqfs", "ext4", "ext4.zst"
	reset   string // makes the box as new, before the clock runs
	daemon  string // runs beside; its processor time counts from the beginning of command
	ready   string // says when the daemon is ready
	command string
	exit    int    // how command ends
	limit   int64  // bytes that it may have of memory, page cache included; 0: any
	rounds  int    // how many at most; 0: all
	rival   string // for another installer: otad's row for the same image
	within  string // with a limit: the row without
	delta   bool   // it fetches only what slot A does not have
}

func floorName(payload string) string       { return "floor " + payload }
func hashedFloorName(payload string) string { return "floor+sha256 " + payload }

const (
	writeOut = "dd of={target} bs=1M iflag=fullblock conv=fsync status=none"
	// A SHA-256 of the same bytes at the same time, with OpenSSL, which uses what
	// the processor has for it.
	writeHashed = "tee >(openssl dgst -sha256 >/dev/null) | " + writeOut

	resetEnv = "cp {run}/env.0 {run}/env.1; cp {run}/env.0 {run}/env.2; "

	swupdate = "exec swupdate -l 2 -B uboot -k {keys}/cms.crt -H stb:1.0 "

	raucDaemon = "exec rauc -c {run}/rauc.conf service --override-boot-slot=A"
	raucReset  = "rm -rf {run}/rauc-boot {run}/rauc.status {run}/rauc-mnt/*"

	mender = "exec chroot {run}/mender-root mender --no-syslog -l warning -c {run}/mender.conf -d {run}/mender-data install "

	otadOnce  = "exec otad install --config {run}/once.toml --yes "
	otadReset = resetEnv + "rm -rf {run}/otad-state; mkdir {run}/otad-state"
)

func allRows() []row {
	rows := floors("sqfs", "v2.sqfs", "")
	rows = append(rows, floors("ext4", "v2.ext4", "")...)
	rows = append(rows, floors("ext4.zst", "v2.ext4.zst", "zstd -qdc | ")...)
	rows = append(rows, peers()...)
	return append(rows, ours()...)
}

// floors are the same with and without a hash, from a file and from the server.
func floors(payload, art, unpack string) []row {
	image := art[len("v2.") : len("v2.")+len("sqfs")]
	var rows []row
	for _, mode := range []string{"local", "stream"} {
		fetch := map[string]string{"local": "cat {file} | ", "stream": "curl -sf {url} | "}[mode] + unpack
		plain := fetch + writeOut
		if mode == "local" && unpack == "" {
			plain = "dd if={file} of={target} bs=1M conv=fsync status=none"
		}
		rows = append(rows,
			row{name: floorName(payload), mode: mode, image: image, art: art, floor: payload, command: plain},
			row{name: hashedFloorName(payload), mode: mode, image: image, art: art, floor: payload, command: fetch + writeHashed})
	}
	return rows
}

// both makes a row from a file and one from the server.
func both(r row, local, stream string) []row {
	fromFile, fromServer := r, r
	fromFile.mode, fromFile.command = "local", local
	fromServer.mode, fromServer.command = "stream", stream
	return []row{fromFile, fromServer}
}

// peers are the other installers, as Debian has them.
func peers() []row {
	var rows []row
	for _, r := range []row{
		{name: "SWUpdate sqfs", rival: "otad sqfs", image: "sqfs", art: "sqfs.swu", floor: "sqfs"},
		{name: "SWUpdate ext4", rival: "otad ext4", image: "ext4", art: "ext4.swu", floor: "ext4"},
		{name: "SWUpdate ext4 zstd", rival: "otad ext4 zstd", image: "ext4", art: "ext4-zstd.swu", floor: "ext4.zst"},
	} {
		r.reset = resetEnv
		rows = append(rows, both(r, swupdate+"-i {file}", swupdate+"-d '-u {url}'")...)
	}
	for _, r := range []row{
		{name: "SWUpdate sqfs delta", rival: "otad sqfs delta, SWUpdate's artifact", image: "sqfs", art: "sqfs-delta.swu", floor: "sqfs"},
		{name: "SWUpdate ext4 delta", rival: "otad ext4 delta, SWUpdate's artifact", image: "ext4", art: "ext4-delta.swu", floor: "ext4"},
	} {
		r.mode, r.reset, r.rounds, r.delta, r.command = "stream", resetEnv, 1, true, swupdate+"-d '-u {url}'"
		rows = append(rows, r)
	}
	for _, r := range []row{
		{name: "RAUC sqfs", rival: "otad sqfs", image: "sqfs", art: "sqfs.raucb", floor: "sqfs"},
		{name: "RAUC ext4 zstd", rival: "otad ext4 zstd", image: "ext4", art: "ext4-zstd.raucb", floor: "ext4.zst"},
	} {
		r.reset, r.daemon, r.ready = raucReset, raucDaemon, "rauc -c {run}/rauc.conf status >/dev/null 2>&1"
		install := "exec rauc -c {run}/rauc.conf install "
		rows = append(rows, both(r, install+"{file} >/dev/null", install+"{url} >/dev/null")...)
	}
	for _, r := range []row{
		{name: "Mender sqfs", rival: "otad sqfs", image: "sqfs", art: "sqfs.mender", floor: "sqfs"},
		{name: "Mender ext4", rival: "otad ext4", image: "ext4", art: "ext4.mender", floor: "ext4"},
		{name: "Mender ext4 gzip", rival: "otad ext4 zstd", image: "ext4", art: "ext4-gzip.mender", floor: "ext4.zst", rounds: 2},
	} {
		r.reset = resetEnv + "rm -f {run}/mender-data/mender-store*"
		rows = append(rows, both(r, mender+"{file}", mender+"{url}")...)
	}
	return rows
}

// ours are otad's: by hand from a file and from the server, and as the service
// that is connected to a broker.
func ours() []row {
	var rows []row
	for _, r := range []row{
		{name: "otad sqfs", image: "sqfs", art: "otad-sqfs.swu", floor: "sqfs"},
		{name: "otad ext4", image: "ext4", art: "otad-ext4.swu", floor: "ext4"},
		{name: "otad ext4 zstd", image: "ext4", art: "otad-ext4-zstd.swu", floor: "ext4.zst"},
	} {
		r.reset, r.exit = otadReset, 4 // done, and a restart is needed
		rows = append(rows, both(r, otadOnce+"{file} >/dev/null", otadOnce+"{url} >/dev/null")...)
		if r.image == "ext4" {
			rows = append(rows, services(r)...)
		}
	}
	for _, r := range []row{
		{name: "otad sqfs delta", image: "sqfs", art: "otad-v2-sqfs-delta.swu", floor: "sqfs"},
		{name: "otad sqfs delta, five packages", to: "v1m", image: "sqfs", art: "otad-v1m-sqfs-delta.swu", floor: "sqfs"},
		{name: "otad ext4 delta", image: "ext4", art: "otad-v2-ext4-delta.swu", floor: "ext4"},
		{name: "otad sqfs delta, SWUpdate's artifact", image: "sqfs", art: "sqfs-delta.swu", floor: "sqfs"},
		{name: "otad ext4 delta, SWUpdate's artifact", image: "ext4", art: "ext4-delta.swu", floor: "ext4"},
	} {
		r.reset, r.exit, r.mode, r.delta = otadReset, 4, "stream", true
		r.command = otadOnce + "{url} >/dev/null"
		rows = append(rows, r)
	}
	return rows
}

// services are the rows of the service: staged and streamed, and within 32 MiB.
func services(r row) []row {
	r.mode = "stream"
	var rows []row
	for _, s := range []struct {
		name, config string
		limit        int64
	}{
		{"service, staged", "staged", 0},
		{"service, streamed", "streamed", 0},
		{"service, streamed, in 32 MiB", "streamed", 32 << 20},
	} {
		service := r
		service.name, service.limit = r.name+" "+s.name, s.limit
		if s.limit > 0 {
			service.within = r.name + " service, streamed"
		}
		service.daemon = "exec otad run --config {run}/" + s.config + ".toml"
		service.ready = "grep -q 'MQTT connection is up' {run}/daemon.log"
		service.command = "exec otad install --config {run}/" + s.config + ".toml --yes --wait {url} >/dev/null"
		rows = append(rows, service)
	}
	return rows
}
