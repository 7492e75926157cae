// Package disk keeps a broker's log directories: which replicas each holds, their logs, the goroutines that sync them,
// and what must be remembered of them across a restart.
//
// # Files
//
// storage/FORMAT.md has them byte by byte:
//
//	kraftgo.lock                       held while a process uses the directory
//	kraftgo.manifest                   the directory's uuid and the replicas that it holds, by lines of changes, synced
//	kraftgo.offsets                    per replica: the durable offset last noted, and limits that a truncation set
//	kraftgo.wal.<n>                    the write-ahead log that the logs share (package wal)
//	kraftgo.clean                      there when the last stop was in good order
//	recovery-point-offset-checkpoint   as Kafka's
//	log-start-offset-checkpoint        as Kafka's
//	<topic>-<partition>/               a log
//	<topic>-<partition>.<uuid>-delete/ a log that is being removed
//	<topic>-<partition>.<uuid>-aside/  a log that nobody knows any more ([Disk.SetAside])
//
// # Who may call what
//
// Any goroutine may call anything. Syncs run on at most Options.Syncers goroutines, started when there is work. Besides
// those there is one goroutine for checkpoints, retention and the removal of files, and one or two that write the write-ahead
// log; they sleep until something is due, and nothing is due in a directory where nothing happens.
//
// # What if
//
//   - a log meets a disk error: all logs of the directory are as good as gone, and Options.OnOffline is told, once;
//   - a replica is in the manifest and its files are not there: its log opens empty and suspect;
//   - a directory is there that no replica of the manifest owns: it is left alone. A replica is removed by Delete only;
//   - the process dies between manifest and removal of the files: after the next Open they are kept as long again, and go.
//
// The directory's lock and the manifest are ours; a directory that Apache Kafka wrote is opened replica by replica with
// Add, which takes its recovery points from the checkpoint files.
package disk
