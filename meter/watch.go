package meter

// Cause is why a Watch woke up, and what it is to wake up for: a set of bits.
type Cause uint8

// Nothing, the zero Cause, means that the time was over.
const (
	Poked   Cause = 1 << iota // Poke was called
	Faulted                   // watched processes have touched faultPeriod more pages
	Woke                      // a watched process was given a CPU
)

// Mode is how growth is noticed between samples.
type Mode string

// The modes of dev.mlrun.memory.meter. Samples at deadlines are taken in all of them.
const (
	Auto   Mode = "auto"   // Events where the kernel permits them
	Events Mode = "events" // also when processes touch memory; and none while all of them sleep
	Poll   Mode = "poll"   // only at deadlines
)
