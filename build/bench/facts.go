package main

import (
	"fmt"
	"time"
)

// facts are of the machine and the day.
type facts struct {
	Date, Processor, Kernel string
	Cores                   int
	Versions                []string
}

func machine() facts {
	f := facts{Date: time.Now().UTC().Format("2006-01-02 15:04 UTC")}
	f.Processor = said(`sed -n 's/^model name[^:]*: //p' /proc/cpuinfo`)
	f.Kernel = said("uname -r")
	_, _ = fmt.Sscan(said("nproc"), &f.Cores)
	f.Versions = append(f.Versions, said("otad version"))
	for _, name := range []string{"swupdate", "rauc", "mender-client", "zchunk", "curl", "zstd", "openssl", "nginx-light", "mosquitto"} {
		f.Versions = append(f.Versions, name+" "+said("dpkg-query -W -f '${Version}' "+name))
	}
	return f
}
