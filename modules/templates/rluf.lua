{% extends "modules/modulefile.lua" %}
{% block footer %}
-- For the job scripts of rluf (share/rluf/jobs).
setenv("RLUF_ROOT", "{{ spec.prefix }}")
setenv("RLUF", "{{ spec.prefix }}/bin/rluf")
{% endblock %}
