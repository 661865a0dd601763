"""FaceNet from facenet-pytorch's files."""
