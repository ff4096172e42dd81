# fish completion for scstfs(8)

set -l commands mount umount mounter sandbox why config status top watch exporter
set -l kinds show check diff apply save edit
set -l none "not __fish_seen_subcommand_from $commands"
set -l for_sandbox '__fish_seen_subcommand_from sandbox'
set -l with_log '__fish_seen_subcommand_from mount umount mounter sandbox'
set -l for_mount '__fish_seen_subcommand_from mount'
set -l for_config '__fish_seen_subcommand_from config'
set -l no_kind "$for_config; and not __fish_seen_subcommand_from $kinds"
set -l for_status '__fish_seen_subcommand_from status'
set -l for_top '__fish_seen_subcommand_from top'
set -l sections problems targets sessions devices groups cluster
set -l for_watch '__fish_seen_subcommand_from watch'
set -l for_exporter '__fish_seen_subcommand_from exporter'

complete -c scstfs -f
complete -c scstfs -s h -l help -d 'show the usage'
complete -c scstfs -n $none -l version -d 'show the version'
complete -c scstfs -n $none -a mount -d 'mount the tree and serve initiators'
complete -c scstfs -n $none -a umount -d 'clean up after a daemon that was killed'
complete -c scstfs -n $none -a mounter -d 'mount for a server that may not'
complete -c scstfs -n $none -a sandbox -d 'run a command with its own target'
complete -c scstfs -n $none -a why -d 'show why a command was refused'
complete -c scstfs -n $none -a status -d 'show what runs, and problems'
complete -c scstfs -n $none -a top -d 'show the activity of sessions, LUNs and devices'
complete -c scstfs -n $none -a watch -d 'print what happens, one line for each event'
complete -c scstfs -n $none -a exporter -d 'serve metrics for Prometheus, and a page'

complete -c scstfs -n $none -a config -d 'show, check, compare, apply and save configurations'

set -l about_a_tree "__fish_seen_subcommand_from mount umount mounter status top watch exporter $kinds"
complete -c scstfs -n $about_a_tree -l mountpoint -x \
    -a '(__fish_complete_directories)' -d 'path of the tree'
complete -c scstfs -n $with_log -l log-level -x -a 'debug info warning error' \
    -d 'least important messages to log'

complete -c scstfs -n $for_mount -l state-dir -x -a '(__fish_complete_directories)' \
    -d 'directory of reservations and mode pages'
complete -c scstfs -n $for_mount -l portal -x -d 'where to listen, HOST:PORT'
complete -c scstfs -n $for_mount -l metrics -x -d 'where to serve metrics and a page, HOST:PORT'
complete -c scstfs -n $for_mount -l background -d 'continue in the background when all is up'
complete -c scstfs -n '__fish_seen_subcommand_from mount mounter' -l pid-file -r -F -d 'file for the process id'

complete -c scstfs -n $for_mount -l config -r -F \
    -d 'configuration to apply before serving initiators'
complete -c scstfs -n $for_mount -l resume -x -a 'auto never always' \
    -d 'whether to resume the last configuration'
complete -c scstfs -n $for_mount -l etcd -x -d 'members of the etcd that keeps what nodes share'
complete -c scstfs -n $for_mount -l node -x -d 'name of this node'
complete -c scstfs -n $for_mount -l lease-ttl -x -d 'how long a node may be silent (seconds)'
complete -c scstfs -n $for_mount -l etcd-ca -r -F \
    -d 'authorities that have signed certificates of etcd'
complete -c scstfs -n $for_mount -l etcd-cert -r -F -d 'certificate of this node for etcd'
complete -c scstfs -n $for_mount -l etcd-key -r -F -d 'private key of that certificate'
complete -c scstfs -n $for_mount -l etcd-password-file -r -F \
    -d 'file with the password for etcd'
complete -c scstfs -n $for_mount -l etcd-user -x -d 'user name for etcd'
complete -c scstfs -n $for_mount -l io-engine -x -a 'best io_uring libaio threads' \
    -d 'what executes disk I/O'

complete -c scstfs -n $for_mount -l user -x -a '(__fish_complete_users)' -d 'serve as this user'
complete -c scstfs -n $for_mount -l capabilities -x -a 'dac_override sys_rawio' \
    -d 'capabilities to keep'
complete -c scstfs -n $for_mount -l mounter -r -F -d 'socket of the service that mounts'

complete -c scstfs -n $for_sandbox -l keep -x -a '(__fish_complete_directories)' \
    -d 'directory for configuration, state and log'
complete -c scstfs -n $for_sandbox -a '(__fish_complete_subcommand --fcs-skip=2)'

complete -c scstfs -n $no_kind -a show -d 'print the running configuration'
complete -c scstfs -n $no_kind -a check -d 'find mistakes in a file'
complete -c scstfs -n $no_kind -a diff -d 'print what a file would change'
complete -c scstfs -n $no_kind -a apply -d 'apply a file'
complete -c scstfs -n $no_kind -a save -d 'save the running configuration'
complete -c scstfs -n $no_kind -a edit -d 'edit the running configuration, or a file'
complete -c scstfs -n '__fish_seen_subcommand_from why' -F
complete -c scstfs -n "$for_config; and __fish_seen_subcommand_from check diff apply save edit" -F
complete -c scstfs -n "$for_config; and __fish_seen_subcommand_from show" -l json -d 'as JSON'
complete -c scstfs -n "$for_config; and __fish_seen_subcommand_from show" -l all \
    -d 'include attributes that need not be saved'
complete -c scstfs -n "$for_config; and __fish_seen_subcommand_from diff" -l json -d 'as JSON'
complete -c scstfs -n "$for_config; and __fish_seen_subcommand_from diff" -l commands \
    -d 'as shell commands'
complete -c scstfs -n "$for_config; and __fish_seen_subcommand_from apply" -l dry-run \
    -d 'only print what would change'
complete -c scstfs -n "$for_config; and __fish_seen_subcommand_from apply" -l quiet \
    -d 'print only errors'
complete -c scstfs -n "$for_config; and __fish_seen_subcommand_from show diff apply" \
    -l show-secrets -d 'print secrets, too'

complete -c scstfs -n "$for_status; and not __fish_seen_subcommand_from $sections" -a "$sections"
complete -c scstfs -n $for_status -l json -d 'as JSON'
complete -c scstfs -n $for_status -l all -d 'show all sessions, also on a terminal'
complete -c scstfs -n $for_status -l check -d 'exit with status 14 if there are problems'

complete -c scstfs -n $for_top -l by -x -a 'sessions luns devices targets' -d 'the objects, one on each line'
complete -c scstfs -n $for_top -l order -x -a 'commands bytes depth latency' \
    -d 'the column to sort by, largest first'
complete -c scstfs -n $for_top -l interval -x -d 'over which rates are averaged (seconds)'
complete -c scstfs -n $for_top -l once -d 'stop after one interval'
complete -c scstfs -n $for_top -l all -d 'show idle rows, too'
complete -c scstfs -n $for_top -l json -d 'print a line of JSON for each interval, for programs'

complete -c scstfs -n $for_watch -l recent -d 'begin with the events of the past that are kept'
complete -c scstfs -n $for_watch -l json -d 'print a line of JSON for each event, for programs'

complete -c scstfs -n $for_exporter -l listen -x -d 'where to listen, HOST:PORT'
complete -c scstfs -n $for_exporter -l auth-file -r -F -d 'users and passwords'
complete -c scstfs -n $for_exporter -l tls-certificate -r -F -d 'certificate chain'
complete -c scstfs -n $for_exporter -l tls-key -r -F -d 'private key'
complete -c scstfs -n $for_exporter -l name -x -d 'another name of this machine'
complete -c scstfs -n $for_exporter -l insecure -d 'serve other machines without protection'
complete -c scstfs -n $for_exporter -l most-luns -x -d 'LUNs of sessions in the metrics'
