package policy

// table has a row for each case: the zone (Berlin, New York, Lord Howe,
// Kolkata, UTC), the time there, the windows, type and question, the facts, and
// the verdict. Spans of facts count back from now.
const table = `# Type 1 (prompt): not even fetched before the viewer agreed.
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt download  |                                        | consent
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt download  | asked=1h                               | consent until 03-13 02:00
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | yes                                    | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt download  | yes                                    | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt install   |                                        | consent
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt install   | asked=1h                               | consent until 03-13 02:00
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt install   | yes                                    | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt install   | yes                                    | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt reboot    |                                        | consent
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt reboot    | asked=1h                               | consent until 03-13 02:00
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt reboot    | yes                                    | window until 03-11 02:00
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt reboot    | yes                                    | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt reboot    | yes standby                            | yes
B | 2026-03-10 20:00  |                                   | prompt reboot    | yes                                    | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt reboot    | yes busy=watching                      | busy look 1m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | force                                  | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt reboot    | force busy=recording                   | yes

# Type 0 is treated as type 1, the gentlest.
B | 2026-03-10 03:00  | 02:00-05:00                       | zero download    |                                        | consent
B | 2026-03-10 03:00  | 02:00-05:00                       | zero reboot      | asked=71h59m                           | consent until 03:01
B | 2026-03-10 03:00  | 02:00-05:00                       | zero download    | yes                                    | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | zero reboot      | yes                                    | window until 03-11 02:00
B | 2026-03-10 03:00  | 02:00-05:00                       | zero reboot      | yes                                    | yes

# The answer is due; then the operator's choice takes its place.
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | asked=71h59m                           | consent until 20:01
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | asked=72h                              | consent then ask
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | asked=72h silence=accept               | consent then accept
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | asked=100h silence=decline             | consent then decline
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | asked=1000h deadline=0s                | consent
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | asked=72h yes                          | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | silent download  | asked=100h                             | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | forced download  | asked=100h                             | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | asked=73h deferred=5m                  | deferred until 20:05
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt install   | asked=72h silence=accept               | consent then accept
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | asked=0s                               | consent until 03-13 20:00
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | asked=0s deadline=10m                  | consent until 20:10

# Clock jumps: a start in the future is never more than the whole span away.
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | asked=-1m                              | consent until 03-13 20:00
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | asked=-8760h                           | consent until 03-13 20:00
U | 1970-01-01 00:00  | 02:00-05:00                       | prompt download  | asked=-8760h                           | consent until 01-04 00:00
U | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | asked=490896h                          | consent then ask
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=watching begun=-1m                | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=watching begun=-8760h             | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=watching begun=8760h              | yes
U | 1970-01-01 00:00  | 02:00-05:00                       | forced reboot    | busy=watching begun=-8760h             | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | silent download  | accepted=-8760h spread=1h              | spread until 20:11
B | 2026-03-10 20:00  | 02:00-05:00                       | silent download  | accepted=8760h spread=1h               | yes
U | 1970-01-01 00:30  | 02:00-05:00                       | silent reboot    |                                        | window until 02:00
U | 2262-01-01 00:30  | 02:00-05:00                       | silent reboot    |                                        | window until 02:00

# Put off.
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | deferred=2h                            | deferred until 22:00
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | deferred=5h                            | deferred until 03-11 01:00
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | deferred=1ns                           | deferred until 20:00
B | 2026-03-10 03:00  | 02:00-05:00                       | silent reboot    | deferred=2h                            | deferred until 05:00
B | 2026-03-10 03:00  | 02:00-05:00                       | silent download  | deferred=2h                            | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent install   | deferred=2h                            | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt reboot    | yes deferred=30m                       | deferred until 03:30
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt download  | yes deferred=30m                       | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt reboot    | yes standby deferred=30m               | deferred until 03:30
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt reboot    | force deferred=30m                     | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | forced reboot    | deferred=30m                           | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | forced reboot    | deferred=30m busy=watching             | countdown until 03:10 look 1m0s notice 10m0s

# Type 2 (silent): in a window or in standby, while the box is not in use.
B | 2026-03-10 03:00  | 02:00-05:00                       | silent download  |                                        | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | silent download  |                                        | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent download  | busy=watching                          | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent install   |                                        | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | silent install   |                                        | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent install   | busy=watching                          | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent reboot    |                                        | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | silent reboot    |                                        | window until 03-11 02:00
B | 2026-03-10 03:00  | 02:00-05:00                       | silent reboot    | busy=watching                          | busy look 1m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | silent reboot    | busy=recording                         | busy look 1m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | silent reboot    | busy=casting                           | busy look 1m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | silent reboot    | standby                                | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | silent reboot    | standby busy=recording                 | busy look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | silent reboot    | standby busy=recording                 | busy look 1m0s
B | 2026-03-10 20:00  |                                   | silent reboot    |                                        | yes
B | 2026-03-10 20:00  |                                   | silent reboot    | busy=watching                          | busy look 1m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | silent reboot    | force busy=watching                    | yes

# A timer that begins soon is use, too.
B | 2026-03-10 03:00  | 02:00-05:00                       | silent reboot    | timer=31m                              | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent reboot    | timer=30m                              | timer until 03:30 look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | silent reboot    | timer=1m                               | timer until 03:01 look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | silent reboot    | timer=1s standby                       | timer until 03:00 look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | silent reboot    | timer=-1m                              | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent reboot    | timer=5m busy=watching                 | busy look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | silent install   | timer=5m                               | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent download  | timer=5m                               | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt reboot    | yes timer=10m                          | timer until 03:10 look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | forced reboot    | timer=5m                               | countdown until 03:10 look 1m0s notice 10m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | forced reboot    | timer=5m begun=10m                     | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | forced reboot    | timer=31m                              | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent reboot    | timer=5m force                         | yes

# Type 3 (forced): at once when the box is not in use, else after the countdown, with its notices.
B | 2026-03-10 20:00  | 02:00-05:00                       | forced download  |                                        | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | forced download  | busy=recording                         | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | forced install   |                                        | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | forced install   | busy=recording                         | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    |                                        | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording                         | countdown until 20:10 look 1m0s notice 10m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | standby                                | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | standby busy=recording                 | countdown until 20:10 look 1m0s notice 10m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording begun=1s                | countdown until 20:09 look 1m0s notice 10m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording begun=1m                | countdown until 20:09 look 1m0s notice 10m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording begun=4m59s             | countdown until 20:05 look 1s notice 10m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording begun=5m                | countdown until 20:05 look 1m0s notice 5m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording begun=5m1s              | countdown until 20:04 look 1m0s notice 5m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording begun=8m59s             | countdown until 20:01 look 1s notice 5m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording begun=9m                | countdown until 20:01 look 1m0s notice 1m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording begun=9m1s              | countdown until 20:00 look 59s notice 1m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording begun=9m59s             | countdown until 20:00 look 1s notice 1m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording begun=10m               | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording begun=1h                | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | begun=3m                               | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording countdown=30m           | countdown until 20:30 look 1m0s notice 30m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording countdown=30m begun=20m | countdown until 20:10 look 1m0s notice 10m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording countdown=30m begun=25m | countdown until 20:05 look 1m0s notice 5m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording countdown=5m            | countdown until 20:05 look 1m0s notice 5m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording countdown=90s           | countdown until 20:01 look 30s notice 1m30s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording countdown=90s begun=40s | countdown until 20:00 look 50s notice 1m0s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording countdown=10s           | countdown until 20:00 look 10s notice 10s
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording countdown=0s            | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | forced reboot    | busy=recording begun=1m force          | yes

# Metered: only what is forced comes in, or what a person starts now.
B | 2026-03-10 03:00  | 02:00-05:00                       | silent download  | metered                                | metered look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt download  | metered yes                            | metered look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt download  | metered                                | consent
B | 2026-03-10 03:00  | 02:00-05:00                       | forced download  | metered                                | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent download  | metered force                          | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent install   | metered                                | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent reboot    | metered                                | yes

# Room.
B | 2026-03-10 03:00  | 02:00-05:00                       | silent download  | need=100 free=99                       | space look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | silent download  | need=100 free=100                      | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | forced download  | need=100 free=1                        | space look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | silent install   | need=100 free=1                        | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent download  | need=100 free=1 force                  | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent download  | free=0                                 | yes

# Not ready: nobody overrules it.
B | 2026-03-10 03:00  | 02:00-05:00                       | silent install   | unready=battery                        | not-ready look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | silent reboot    | unready=battery                        | not-ready look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | silent download  | unready=battery                        | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent install   | unready=hot force                      | not-ready look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | forced reboot    | unready=hot                            | not-ready look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | forced reboot    | unready=hot busy=watching begun=1h     | not-ready look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | prompt install   | unready=hot yes                        | not-ready look 1m0s
B | 2026-03-10 03:00  | 02:00-05:00                       | forced download  | unready=hot                            | yes
B | 2026-03-10 03:00  | 02:00-05:00                       | silent reboot    | unready=hot standby                    | not-ready look 1m0s

# Spread: the share of "box" is the same each time.
B | 2026-03-10 01:59  | 02:00-05:00                       | silent reboot    | apply=30m                              | window until 02:00
B | 2026-03-10 02:00  | 02:00-05:00                       | silent reboot    | apply=30m                              | spread until 02:18
B | 2026-03-10 02:10  | 02:00-05:00                       | silent reboot    | apply=30m                              | spread until 02:18
B | 2026-03-10 02:30  | 02:00-05:00                       | silent reboot    | apply=30m                              | yes
B | 2026-03-10 02:00  | 02:00-05:00                       | silent reboot    | apply=24h                              | spread until 02:55
B | 2026-03-10 03:30  | 02:00-05:00                       | silent reboot    | apply=24h                              | yes
B | 2026-03-10 02:00  | 02:00-05:00                       | silent reboot    | apply=30m force                        | yes
B | 2026-03-10 02:00  | 02:00-05:00                       | silent reboot    | apply=30m standby                      | yes
B | 2026-03-10 02:00  | 02:00-05:00                       | forced reboot    | apply=30m                              | yes
B | 2026-03-10 02:00  |                                   | silent reboot    | apply=30m                              | yes
B | 2026-03-10 12:00  | 00:00-24:00                       | silent reboot    | apply=30m                              | yes
B | 2026-03-10 23:50  | 23:50-00:10                       | silent reboot    | apply=1h                               | spread until 23:56
B | 2026-03-11 00:00  | 23:50-00:10                       | silent reboot    | apply=1h                               | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | silent download  | accepted=0s spread=1h                  | spread until 20:11
B | 2026-03-10 20:00  | 02:00-05:00                       | silent download  | accepted=1h spread=1h                  | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | prompt download  | yes accepted=0s spread=1h              | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | silent install   | accepted=0s spread=1h                  | yes
B | 2026-03-10 20:00  | 02:00-05:00                       | forced download  | accepted=0s spread=1h                  | yes

# Windows with days; 2026-03-09 is a Monday.
B | 2026-03-09 03:00  | mon-fri 02:00-05:00               | silent reboot    |                                        | yes
B | 2026-03-13 04:59  | mon-fri 02:00-05:00               | silent reboot    |                                        | yes
B | 2026-03-13 05:00  | mon-fri 02:00-05:00               | silent reboot    |                                        | window until 03-16 02:00
B | 2026-03-14 03:00  | mon-fri 02:00-05:00               | silent reboot    |                                        | window until 03-16 02:00
B | 2026-03-14 03:00  | mon-fri 02:00-05:00; sat,sun 01:00-06:00 | silent reboot    |                                        | yes
B | 2026-03-13 12:00  | mon-fri 02:00-05:00; sat,sun 01:00-06:00 | silent reboot    |                                        | window until 03-14 01:00
B | 2026-03-15 06:00  | mon-fri 02:00-05:00; sat,sun 01:00-06:00 | silent reboot    |                                        | window until 03-16 02:00
B | 2026-03-09 03:00  | tue 02:00-05:00                   | silent reboot    |                                        | window until 03-10 02:00
B | 2026-03-10 05:00  | tue 02:00-05:00                   | silent reboot    |                                        | window until 03-17 02:00
B | 2026-03-15 12:00  | fri-mon 10:00-14:00               | silent reboot    |                                        | yes
B | 2026-03-17 12:00  | fri-mon 10:00-14:00               | silent reboot    |                                        | window until 03-20 10:00

# Over midnight: what is after midnight belongs to the day before.
B | 2026-03-13 23:00  | fri 22:00-04:00                   | silent reboot    |                                        | yes
B | 2026-03-14 03:59  | fri 22:00-04:00                   | silent reboot    |                                        | yes
B | 2026-03-14 04:00  | fri 22:00-04:00                   | silent reboot    |                                        | window until 03-20 22:00
B | 2026-03-13 03:00  | fri 22:00-04:00                   | silent reboot    |                                        | window until 22:00
B | 2026-03-14 22:30  | fri 22:00-04:00                   | silent reboot    |                                        | window until 03-20 22:00
B | 2026-03-15 01:00  | sat 22:00-04:00                   | silent reboot    |                                        | yes
B | 2026-03-16 01:00  | sat 22:00-04:00                   | silent reboot    |                                        | window until 03-21 22:00
B | 2026-12-31 23:30  | 22:00-04:00                       | silent reboot    |                                        | yes
B | 2027-01-01 00:30  | thu 22:00-04:00                   | silent reboot    |                                        | yes
B | 2026-03-01 00:30  | sat 22:00-04:00                   | silent reboot    |                                        | yes

# The clock goes ahead: Berlin 29 March, New York 8 March, Lord Howe (half an hour) 4 October.
B | 2026-03-29 01:59  | 02:00-05:00                       | silent reboot    |                                        | window until 03:00
B | 2026-03-29 03:00  | 02:00-05:00                       | silent reboot    |                                        | yes
B | 2026-03-29 03:00  | 02:00-02:45                       | silent reboot    |                                        | window until 03-30 02:00
B | 2026-03-29 03:30  | sun 01:00-03:30                   | silent reboot    |                                        | window until 04-05 01:00
B | 2026-03-28 23:30  | sat 22:00-03:30                   | silent reboot    |                                        | yes
B | 2026-03-29 03:15  | sat 22:00-03:30                   | silent reboot    |                                        | yes
B | 2026-03-29 03:30  | sat 22:00-03:30                   | silent reboot    |                                        | window until 04-04 22:00
N | 2026-03-08 01:59  | 02:00-05:00                       | silent reboot    |                                        | window until 03:00
N | 2026-03-08 03:00  | 02:00-05:00                       | silent reboot    |                                        | yes
N | 2026-03-08 03:00  | 02:00-02:30                       | silent reboot    |                                        | window until 03-09 02:00
L | 2026-10-04 01:45  | 02:00-05:00                       | silent reboot    |                                        | window until 02:30
L | 2026-10-04 02:30  | 02:00-05:00                       | silent reboot    |                                        | yes
L | 2026-10-04 02:30  | 02:00-02:30                       | silent reboot    |                                        | window until 10-05 02:00
B | 2026-03-29 01:55  | 02:00-05:00                       | forced reboot    | busy=watching                          | countdown until 03:05 look 1m0s notice 10m0s
B | 2026-03-29 03:05  | 02:00-05:00                       | forced reboot    | busy=watching begun=10m                | yes
B | 2026-03-28 20:00  | 02:00-05:00                       | prompt download  | asked=0s deadline=24h                  | consent until 03-29 21:00
B | 2026-03-29 01:30  | 02:00-05:00                       | prompt download  | deferred=1h                            | deferred until 03:30
B | 2026-03-29 03:00  | 02:00-05:00                       | silent reboot    | apply=30m                              | spread until 03:18
B | 2026-03-29 03:20  | 02:00-05:00                       | silent reboot    | apply=30m                              | yes

# The clock goes back: Berlin 25 October, New York 1 November, Lord Howe 5 April. A star is the second time.
B | 2026-10-25 01:59  | 02:00-05:00                       | silent reboot    |                                        | window until 02:00
B | 2026-10-25 02:30  | 02:00-05:00                       | silent reboot    |                                        | yes
B | 2026-10-25 02:30* | 02:00-05:00                       | silent reboot    |                                        | yes
B | 2026-10-25 02:30  | 02:00-02:30                       | silent reboot    |                                        | window until 02:00
B | 2026-10-25 02:10* | 02:00-02:30                       | silent reboot    |                                        | yes
B | 2026-10-25 02:30* | 02:00-02:30                       | silent reboot    |                                        | window until 10-26 02:00
B | 2026-10-25 02:59* | 03:00-04:00                       | silent reboot    |                                        | window until 03:00
B | 2026-10-25 02:30* | sat 22:00-03:00                   | silent reboot    |                                        | yes
B | 2026-10-25 03:00  | sat 22:00-03:00                   | silent reboot    |                                        | window until 10-31 22:00
N | 2026-11-01 01:30  | 01:00-02:00                       | silent reboot    |                                        | yes
N | 2026-11-01 01:30* | 01:00-02:00                       | silent reboot    |                                        | yes
N | 2026-11-01 02:00  | 01:00-02:00                       | silent reboot    |                                        | window until 11-02 01:00
L | 2026-04-05 01:45  | 01:30-02:00                       | silent reboot    |                                        | yes
L | 2026-04-05 02:00  | 01:30-02:00                       | silent reboot    |                                        | window until 04-06 01:30
B | 2026-10-25 02:55  | 02:00-05:00                       | forced reboot    | busy=watching                          | countdown until 02:05 look 1m0s notice 10m0s
B | 2026-10-24 20:00  | 02:00-05:00                       | prompt download  | asked=0s deadline=24h                  | consent until 10-25 19:00
B | 2026-10-25 01:30  | 02:00-05:00                       | prompt download  | deferred=3h                            | deferred until 03:30

# Other zones.
K | 2026-06-01 03:00  | 02:00-05:00                       | silent reboot    |                                        | yes
K | 2026-06-01 05:00  | 02:00-05:00                       | silent reboot    |                                        | window until 06-02 02:00
U | 2026-06-01 03:00  | 02:00-05:00                       | silent reboot    |                                        | yes
U | 2026-02-28 23:00  | 02:00-05:00                       | silent reboot    |                                        | window until 03-01 02:00
U | 2028-02-29 23:00  | thu 00:00-01:00                   | silent reboot    |                                        | window until 03-02 00:00
N | 2026-06-01 01:59  | 02:00-05:00; 13:00-14:00          | silent reboot    |                                        | window until 02:00
`
