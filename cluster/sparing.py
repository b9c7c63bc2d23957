"""What Ray's own processes are kept from doing, because nobody looks at it so often.

They share the cores of workers: on two cores, with a worker on each, whatever they do is missing in
every step of a training.
"""

SPARING = {
    # The dashboard shows what agents report of processes, and asks every 15 s itself.
    "REPORTER_UPDATE_INTERVAL_MS": "15000",
    # Agents look ten times a second whether there are events for the dashboard's list of them, and
    # every two seconds into the folder where they would be.
    "EVENT_AGENT_REPORT_INTERVAL_SECONDS": "2",
    "SCAN_EVENT_DIR_INTERVAL_SECONDS": "15",
    # Figures that the dashboard keeps of itself.
    "METRICS_RECORD_INTERVAL_S": "60",
    # Lists the folder of logs ten times a second as long as there are fewer files than this.
    # What workers print stays in those files, see `log_to_driver`.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "10",
}
"""Variables of their environment, all by Ray's own names."""

UNWATCHED = {
    "RAY_enable_metrics_collection": "0",
}
"""More of them where no Prometheus reads figures: a cluster that ends with a command. Without this
every process sends its figures to the node's agent."""
