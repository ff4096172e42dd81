# fish completion for scstadmin(1), with names from the running tree

# The value of an option that was given.
function __scstadmin_given
    set -l words (commandline -opc)
    set -l at (contains -i -- -$argv[1] $words; or contains -i -- --$argv[1] $words)
    and test $at -lt (count $words)
    and string unescape -- $words[(math $at + 1)]
end

# Whether the last word was an option with an optional value.
function __scstadmin_after
    set -l last (commandline -opc)[-1]
    test "$last" = -$argv[1] -o "$last" = --$argv[1]
end

# The last parts of paths.
function __scstadmin_last
    string replace -r '/$' '' -- $argv | string replace -r '^.*/' ''
end

# Of paths, those of directories and of links to directories.
function __scstadmin_directories
    for path in $argv
        test -d $path; and echo $path
    end
end

# The names of the attributes in a directory that can be set.
function __scstadmin_settable
    find $argv[1] -maxdepth 1 -type f -perm -u=w ! -name mgmt -printf '%f\n' 2>/dev/null
end

# What the usage text of a mgmt file lists: parameters, or attributes that can be added.
function __scstadmin_announced
    string match -r "^The following $argv[2] available: .*" <$argv[1] 2>/dev/null |
        string replace -r '^[^:]*: ' '' | string replace -r '\.$' '' | string split ', '
end

# The names that -attributes accepts together with the other options.
function __scstadmin_attribute_names
    set -l tree $argv[1]
    set -l driver (__scstadmin_given driver)
    set -l at $tree/targets/$driver/(__scstadmin_given target)
    set -l group (__scstadmin_given group)
    set -l luns $at/luns
    test -n "$group"; and set luns $at/ini_groups/$group/luns
    set -l dgrp $tree/device_groups/(__scstadmin_given dev_group)/target_groups
    set -l name
    if contains -- -set_scst_attr (commandline -opc)
        __scstadmin_settable $tree
    else if set name (__scstadmin_given set_hnd_attr)
        __scstadmin_settable $tree/handlers/$name
    else if set name (__scstadmin_given set_dev_attr)
        __scstadmin_settable $tree/devices/$name
    else if set name (__scstadmin_given set_drv_attr)
        __scstadmin_settable $tree/targets/$name
    else if set name (__scstadmin_given set_tgt_attr)
        __scstadmin_settable $tree/targets/$driver/$name
    else if set name (__scstadmin_given set_grp_attr)
        __scstadmin_settable $at/ini_groups/$name
    else if set name (__scstadmin_given set_lun_attr)
        __scstadmin_settable $luns/$name
    else if set name (__scstadmin_given set_dgrp_attr)
        __scstadmin_settable $tree/device_groups/$name
    else if set name (__scstadmin_given set_tgrp_attr)
        __scstadmin_settable $dgrp/$name
    else if set name (__scstadmin_given set_ttgt_attr)
        __scstadmin_settable $dgrp/(__scstadmin_given tgt_group)/$name
    else if __scstadmin_given open_dev >/dev/null
        __scstadmin_announced $tree/handlers/(__scstadmin_given handler)/mgmt parameters
    else if __scstadmin_given add_target >/dev/null
        __scstadmin_announced $tree/targets/$driver/mgmt parameters
    else if __scstadmin_given add_lun >/dev/null; or __scstadmin_given replace_lun >/dev/null
        __scstadmin_announced $luns/mgmt parameters
    else if set name (__scstadmin_given add_drv_attr; or __scstadmin_given rem_drv_attr)
        __scstadmin_announced $tree/targets/$name/mgmt 'target driver attributes'
    else if __scstadmin_given add_tgt_attr >/dev/null; or __scstadmin_given rem_tgt_attr >/dev/null
        __scstadmin_announced $tree/targets/$driver/mgmt 'target attributes'
    end
end

# A list, separated by commas, of which the last name is the one to complete.
function __scstadmin_attributes
    set -l before (string match -r '^.*,' -- (commandline -ct))
    for name in (__scstadmin_attribute_names $argv[1])
        echo "$before$name="
    end
end

# The names of all objects of a kind, narrowed by other options.
function __scstadmin_names
    set -l tree /sys/kernel/scst_tgt
    set -q SCSTFS_TREE; and set tree $SCSTFS_TREE

    # A pattern that matches nothing is an error, but not in `set`.
    set -l name (__scstadmin_given driver)
    set -l drivers $tree/targets/*
    test -n "$name"; and set drivers $tree/targets/$name
    set name (__scstadmin_given target)
    set -l targets $drivers/*
    test -n "$name"; and set targets $drivers/$name
    set name (__scstadmin_given group)
    set -l groups $targets/ini_groups/*
    test -n "$name"; and set groups $targets/ini_groups/$name
    set -l owners $targets
    test -n "$name"; and set owners $groups
    set name (__scstadmin_given dev_group)
    set -l device_groups $tree/device_groups/*
    test -n "$name"; and set device_groups $tree/device_groups/$name

    set -l found
    switch $argv[1]
        case attribute
            __scstadmin_attributes $tree
            return
        case initiator
            set found $groups/initiators/*
            __scstadmin_last $found | string match -v mgmt | sort -u
            return
        case device
            set found $tree/devices/*
        case device_of_group
            set found $device_groups/devices/*
        case device_group
            set found $tree/device_groups/*
        case driver
            set found $tree/targets/*
        case group
            set found $targets/ini_groups/*
        case handler
            set found $tree/handlers/*
        case handled
            set found $tree/devices/*
            set name (__scstadmin_given handler)
            test -n "$name"; and set found $tree/handlers/$name/*
        case unhandled
            for path in $tree/devices/*
                test -e $path/handler; or set -a found $path
            end
        case lun
            set found $owners/luns/*
        case target
            set found $drivers/*
        case target_group
            set found $device_groups/target_groups/*
        case target_of_group
            set name (__scstadmin_given tgt_group)
            set -l target_groups $device_groups/target_groups/*
            test -n "$name"; and set target_groups $device_groups/target_groups/$name
            set found $target_groups/*
    end
    __scstadmin_last (__scstadmin_directories $found) | sort -u
end

complete -c scstadmin -f
complete -c scstadmin -o h -o help -d 'show how to use it'
complete -c scstadmin -o config -d 'configure SCST from a file'
complete -c scstadmin -n '__scstadmin_after config' -F
complete -c scstadmin -o check_config -d 'check a file'
complete -c scstadmin -n '__scstadmin_after check_config' -F
complete -c scstadmin -o write_config -r -F -d 'write the configuration to a file'
complete -c scstadmin -o clear_config -d 'take the whole configuration away'
complete -c scstadmin -o list_handler -d 'list handlers, or the devices of one'
complete -c scstadmin -n '__scstadmin_after list_handler' -a '(__scstadmin_names handler)'
complete -c scstadmin -o list_device -d 'list devices, or one'
complete -c scstadmin -n '__scstadmin_after list_device' -a '(__scstadmin_names device)'
complete -c scstadmin -o list_dgrp -d 'list device groups, or one'
complete -c scstadmin -n '__scstadmin_after list_dgrp' -a '(__scstadmin_names device_group)'
complete -c scstadmin -o list_tgrp -d 'list target groups, or one'
complete -c scstadmin -n '__scstadmin_after list_tgrp' -a '(__scstadmin_names target_group)'
complete -c scstadmin -o list_driver -d 'list drivers, or one'
complete -c scstadmin -n '__scstadmin_after list_driver' -a '(__scstadmin_names driver)'
complete -c scstadmin -o list_target -d 'list targets, or one'
complete -c scstadmin -n '__scstadmin_after list_target' -a '(__scstadmin_names target)'
complete -c scstadmin -o list_group -d 'list groups, or one'
complete -c scstadmin -n '__scstadmin_after list_group' -a '(__scstadmin_names group)'
complete -c scstadmin -o list_sessions -d 'list sessions'
complete -c scstadmin -o list_scst_attr -d 'list attributes of SCST'
complete -c scstadmin -o list_hnd_attr -x -a '(__scstadmin_names handler)' \
    -d 'list attributes of a handler'
complete -c scstadmin -o list_dev_attr -x -a '(__scstadmin_names device)' \
    -d 'list attributes of a device'
complete -c scstadmin -o list_drv_attr -x -a '(__scstadmin_names driver)' \
    -d 'list attributes of a driver'
complete -c scstadmin -o list_tgt_attr -x -a '(__scstadmin_names target)' \
    -d 'list attributes of a target'
complete -c scstadmin -o list_grp_attr -x -a '(__scstadmin_names group)' \
    -d 'list attributes of a group'
complete -c scstadmin -o list_lun_attr -x -a '(__scstadmin_names lun)' -d 'list attributes of a LUN'
complete -c scstadmin -o list_init_attr -x -a '(__scstadmin_names initiator)' \
    -d 'list attributes of an initiator'
complete -c scstadmin -o list_dgrp_attr -x -a '(__scstadmin_names device_group)' \
    -d 'list attributes of a device group'
complete -c scstadmin -o list_tgrp_attr -x -a '(__scstadmin_names target_group)' \
    -d 'list attributes of a target group'
complete -c scstadmin -o list_ttgt_attr -x -a '(__scstadmin_names target_of_group)' \
    -d 'list attributes of its target'
complete -c scstadmin -o set_scst_attr -d 'set attributes of SCST'
complete -c scstadmin -o set_hnd_attr -x -a '(__scstadmin_names handler)' \
    -d 'set attributes of a handler'
complete -c scstadmin -o set_dev_attr -x -a '(__scstadmin_names device)' \
    -d 'set attributes of a device'
complete -c scstadmin -o set_drv_attr -x -a '(__scstadmin_names driver)' \
    -d 'set attributes of a driver'
complete -c scstadmin -o set_tgt_attr -x -a '(__scstadmin_names target)' \
    -d 'set attributes of a target'
complete -c scstadmin -o set_grp_attr -x -a '(__scstadmin_names group)' \
    -d 'set attributes of a group'
complete -c scstadmin -o set_lun_attr -x -a '(__scstadmin_names lun)' -d 'set attributes of a LUN'
complete -c scstadmin -o set_init_attr -x -a '(__scstadmin_names initiator)' \
    -d 'set attributes of an initiator'
complete -c scstadmin -o set_dgrp_attr -x -a '(__scstadmin_names device_group)' \
    -d 'set attributes of a device group'
complete -c scstadmin -o set_tgrp_attr -x -a '(__scstadmin_names target_group)' \
    -d 'set attributes of a target group'
complete -c scstadmin -o set_ttgt_attr -x -a '(__scstadmin_names target_of_group)' \
    -d 'set attributes of its target'
complete -c scstadmin -o add_drv_attr -x -a '(__scstadmin_names driver)' \
    -d 'add attributes to a driver'
complete -c scstadmin -o add_tgt_attr -x -a '(__scstadmin_names target)' \
    -d 'add attributes to a target'
complete -c scstadmin -o rem_drv_attr -x -a '(__scstadmin_names driver)' \
    -d 'remove attributes of a driver'
complete -c scstadmin -o rem_tgt_attr -x -a '(__scstadmin_names target)' \
    -d 'remove attributes of a target'
complete -c scstadmin -o open_dev -x -a '(__scstadmin_names unhandled)' -d 'add a device'
complete -c scstadmin -o close_dev -x -a '(__scstadmin_names handled)' -d 'remove a device'
complete -c scstadmin -o resync_dev -x -a '(__scstadmin_names device)' \
    -d 'read the size of a device again'
complete -c scstadmin -o add_dgrp -x -d 'add a device group'
complete -c scstadmin -o rem_dgrp -x -a '(__scstadmin_names device_group)' \
    -d 'remove a device group'
complete -c scstadmin -o add_dgrp_dev -x -a '(__scstadmin_names device)' \
    -d 'add a device to a device group'
complete -c scstadmin -o rem_dgrp_dev -x -a '(__scstadmin_names device_of_group)' \
    -d 'remove a device from it'
complete -c scstadmin -o add_tgrp -x -d 'add a target group to a device group'
complete -c scstadmin -o rem_tgrp -x -a '(__scstadmin_names target_group)' \
    -d 'remove a target group'
complete -c scstadmin -o add_tgrp_tgt -x -a '(__scstadmin_names target)' \
    -d 'add a target to a target group'
complete -c scstadmin -o rem_tgrp_tgt -x -a '(__scstadmin_names target_of_group)' \
    -d 'remove a target from it'
complete -c scstadmin -o add_target -x -d 'add a target'
complete -c scstadmin -o rem_target -x -a '(__scstadmin_names target)' -d 'remove a target'
complete -c scstadmin -o add_group -x -d 'add a group of initiators'
complete -c scstadmin -o rem_group -x -a '(__scstadmin_names group)' -d 'remove a group'
complete -c scstadmin -o add_init -x -d 'add an initiator to a group'
complete -c scstadmin -o rem_init -x -a '(__scstadmin_names initiator)' \
    -d 'remove an initiator from a group'
complete -c scstadmin -o move_init -x -a '(__scstadmin_names initiator)' \
    -d 'move an initiator to another group'
complete -c scstadmin -o clear_inits -d 'remove all initiators of a group'
complete -c scstadmin -o add_lun -x -d 'add a LUN'
complete -c scstadmin -o rem_lun -x -a '(__scstadmin_names lun)' -d 'remove a LUN'
complete -c scstadmin -o replace_lun -x -a '(__scstadmin_names lun)' \
    -d 'put another device behind a LUN'
complete -c scstadmin -o clear_luns -d 'remove all LUNs'
complete -c scstadmin -o enable_target -x -a '(__scstadmin_names target)' \
    -d 'have a target take logins'
complete -c scstadmin -o disable_target -x -a '(__scstadmin_names target)' -d 'have it take none'
complete -c scstadmin -o issue_lip -d 'have initiators look again (Fibre Channel)'
complete -c scstadmin -n '__scstadmin_after issue_lip' -a '(__scstadmin_names target)'
complete -c scstadmin -o lip -d 'do so after changes'
complete -c scstadmin -o no_lip -d 'do not do so after changes'
complete -c scstadmin -o handler -x -a '(__scstadmin_names handler)' -d 'the handler that is meant'
complete -c scstadmin -o driver -x -a '(__scstadmin_names driver)' -d 'the driver that is meant'
complete -c scstadmin -o target -x -a '(__scstadmin_names target)' -d 'the target that is meant'
complete -c scstadmin -o group -x -a '(__scstadmin_names group)' -d 'the group that is meant'
complete -c scstadmin -o to -x -a '(__scstadmin_names group)' -d 'the group to move to'
complete -c scstadmin -o device -x -a '(__scstadmin_names device)' -d 'the device that is meant'
complete -c scstadmin -o dev_group -x -a '(__scstadmin_names device_group)' \
    -d 'the device group that is meant'
complete -c scstadmin -o tgt_group -x -a '(__scstadmin_names target_group)' \
    -d 'the target group that is meant'
complete -c scstadmin -o attributes -x -a '(__scstadmin_names attribute)' -d 'names and values'
complete -c scstadmin -o nonkey -d 'attributes that need not be saved, too'
complete -c scstadmin -o force -d 'change what others use, too, and remove'
complete -c scstadmin -o noprompt -d 'do not ask and do not pause'
complete -c scstadmin -o cont_on_err -d 'go on after an error'
complete -c scstadmin -o debug -d 'change nothing'
complete -c scstadmin -o dumpAttrs -d 'print all attributes'
