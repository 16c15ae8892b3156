"""What came of it: figures, reports and sentences, made from records alone."""
