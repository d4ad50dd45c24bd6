//go:build !linux

package sockpath

const room = 104 // of sun_path

// shorten goes through a link: there is no file name for an open directory.
func shorten(path string) (name string, release func(), err error) {
	return link(path, temporary, room)
}
