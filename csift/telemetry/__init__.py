"""What is told to those who watch: metrics, JSON log lines, spans. Each module loads what it needs; this one loads nothing."""
